cd-checkout --timeout 300
authorize-deploy --timeout 120
