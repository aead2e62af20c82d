CD_DRY_RUN=false cd-checkout --timeout 300
run-tests --timeout 1200
