CD_DRY_RUN=false cd-checkout --timeout 300
publish-tag --timeout 600
