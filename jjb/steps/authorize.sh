cd-checkout --timeout 300
CD_SIGNING_KEY=${CD_PERMIT_KEY:-} authorize-deploy --timeout 480
