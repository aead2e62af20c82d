status=0
cd-hold --timeout 120 || status=$?
# It leaves its result apart, where it takes the place of no run's. Here it is the run.
cp .cd/hold/* .cd/ || echo "it has left nothing"
exit "$status"
