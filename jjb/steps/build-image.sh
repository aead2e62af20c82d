CD_DRY_RUN=false cd-checkout --timeout 300
build-image --timeout 1200
