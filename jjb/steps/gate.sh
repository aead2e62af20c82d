cd-checkout --timeout 300
# Each step signs with a key of its own, where the job binds any.
CD_SIGNING_KEY=${CD_BUILD_KEY:-} build-image --timeout 1200
CD_SIGNING_KEY=${CD_TEST_KEY:-} run-tests --timeout 1200
publish-tag --candidate --timeout 600
