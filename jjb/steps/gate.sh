cd-checkout --timeout 300
build-image --timeout 1200
run-tests --timeout 1200
publish-tag --candidate --timeout 600
