# shellcheck shell=bash
# steps.sh: one line for each step of a script, with the time it took. Sourced, never run.
#
#   step "apply the samples" kubectl apply -k config/samples
#
# The line appears when the step ends; a terminal shows the running step too. A step that fails ends the script.

if [ -t 2 ]; then running='\r\033[K%5s  %s ...'; ended='\r\033[K'; else running=; ended=; fi

step() { # step NAME COMMAND...: the command may be a function; its own output passes through
  local title=$1 started now status=0; shift
  started=$(date +%s%N)
  [ -n "$running" ] && printf "$running" '' "$title" >&2
  # A function's set -e is void inside "||" and "if", so the step runs in a subshell of its own whose status is read after it.
  set +e; (set -e; "$@"); status=$?; set -e
  now=$(date +%s%N)
  if [ "$status" = 0 ]; then
    printf "$ended%6s s  %s\n" "$(seconds $((now - started)))" "$title" >&2
  else
    printf "$ended%6s s  %s: exit status %s\n" "$(seconds $((now - started)))" "$title" "$status" >&2
    exit "$status"
  fi
}
seconds() { printf '%d.%d' $(($1 / 1000000000)) $(($1 / 100000000 % 10)); }

# packages COMMAND-OR-FILE=PACKAGE...: install the Debian packages whose command or file is missing.
packages() {
  local pair missing=()
  for pair; do command -v "${pair%%=*}" >/dev/null || [ -e "${pair%%=*}" ] || missing+=("${pair#*=}"); done
  [ ${#missing[@]} = 0 ] && return
  [ "$(id -u)" = 0 ] || { echo "missing: ${missing[*]} (run as root, or install them)" >&2; return 1; }
  echo "installing ${missing[*]}" >&2
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}
