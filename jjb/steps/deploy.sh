status=0
step=cd-checkout
# Each step begins without the result of the one before: where it is killed, that would say that all went well.
CD_DRY_RUN=false cd-checkout --timeout 300 \
  && step=publish-tag && rm -f .cd/cd-result.json && publish-tag --timeout 600 \
  && step=helm-deploy && rm -f .cd/cd-result.json && helm-deploy --timeout 600 || status=$?
leave_result "$step" "$status" || echo "there is no result of $step, and none could be written"
# Tell the changes how it ended, well or badly. What cannot be told does not change how it ended.
if [ -n "${CD_GERRIT_URL:-}" ]; then
  gerrit-comment --result .cd/cd-result.json --page .cd/report.html --timeout 120 || echo "the changes could not be told"
fi
exit "$status"
