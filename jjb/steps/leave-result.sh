# leave_result STEP STATUS: what is told of a step that was killed, or refused before it began, and so left no result.
leave_result() {
  if [ "$2" -ne 0 ] && [ ! -e .cd/cd-result.json ]; then
    outcome=killed
    # Wrong options, or no such program.
    case $2 in 2|126|127) outcome=misconfigured;; esac
    mkdir -p .cd
    printf '{"schema": "cd-result/1", "command": "%s", "outcome": "%s", "exit_code": %d, "duration_s": 0, "error": {"message": "%s ended with status %d, and left no result", "hint": "read the log of the build, and run the job again once the cause is gone", "details": []}}\n' "$1" "$outcome" "$2" "$1" "$2" > .cd/cd-result.json
  fi
}
