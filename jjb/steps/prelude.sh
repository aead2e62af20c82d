# Which cdlib: looked up once, so that a build keeps its version while an operator switches to another.
if [ -e "${CD_HOME:-/opt/cdlib}/current" ]; then
  PATH=$(readlink -f "${CD_HOME:-/opt/cdlib}/current")/bin:$PATH
  export PATH
fi
if ! command -v cd-checkout; then
  echo "cdlib is not on this agent: install it by jjb/install-cdlib, or name its place by CD_HOME"
  exit 2
fi
# What an earlier build left here must not be archived as this one's.
rm -rf .cd
# However it ends, what is left is made into a page last. Where that cannot be, it still ends as it does.
# A plain one, because Jenkins forbids style sheets in artifacts.
trap 'CD_DRY_RUN=false cd-report --ended --plain --timeout 60 || echo "no page could be made of it"' EXIT
