CD_DRY_RUN=false cd-checkout --timeout 300
helm-deploy --timeout 600
