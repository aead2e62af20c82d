status=0
CD_DRY_RUN=false cd-checkout --timeout 300 && publish-tag --timeout 600 && helm-deploy --timeout 600 || status=$?
# Tell the changes how it ended, well or badly. What cannot be told does not change how it ended.
if [ -n "${CD_GERRIT_URL:-}" ]; then
  gerrit-comment --result .cd/cd-result.json --page .cd/report.html --timeout 120 || echo "the changes could not be told"
fi
exit "$status"
