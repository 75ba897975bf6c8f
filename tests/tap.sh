# tests/tap.sh: sourced by the shell tests: counts and prints TAP. $B is the program (SEGX_BIN). A script ends with `finish`.
B=${SEGX_BIN:?the path of segx}
n=0 bad=0
ok() {  # ok STATUS NAME
    n=$((n + 1))
    if [ "$1" -eq 0 ]; then echo "ok $n - $2"; else bad=1; echo "not ok $n - $2"; fi
}
skip() { n=$((n + 1)); echo "ok $n - $1 # SKIP $2"; }   # skip NAME WHY
finish() { echo "1..$n"; exit $bad; }

is() { [ "$1" = "$2" ]; local s=$?; [ $s -eq 0 ] || echo "# got '$1', want '$2'"; ok $s "$3"; }   # is GOT WANT NAME
has() {  # has FILE PATTERN NAME
    grep -qE -- "$2" "$1"
    local s=$?
    [ $s -eq 0 ] || { echo "# $1 lacks '$2':"; sed 's/^/#   /' "$1"; }
    ok $s "$3"
}

# run STATUS OUT ERR NAME -- ARGS: the exit status, and patterns (grep -E; "" = must be empty; * = any)
# for both streams. Standard input comes from $in, if set, else /dev/null.
in=
run() {
    local want=$1 out=$2 err=$3 name=$4 s good=0
    shift 5
    if [ -n "$in" ]; then printf '%b' "$in" | "$B" "$@" >o 2>e; s=${PIPESTATUS[1]}
    else "$B" "$@" >o 2>e </dev/null; s=$?; fi
    [ "$s" -eq "$want" ] || { good=1; echo "# status $s, want $want"; sed 's/^/#   /' e; }
    match o "$out" || good=1
    match e "$err" || good=1
    ok $good "$name"
}
match() {
    case $2 in
        "") [ ! -s "$1" ] && return 0 ;;
        "*") return 0 ;;
        *) grep -qEe "$2" "$1" && return 0 ;;
    esac
    echo "# $1 does not match '$2':"
    sed 's/^/#   /' "$1"
    return 1
}
