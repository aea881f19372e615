# shellcheck shell=sh
# shellcheck disable=SC2034,SC2153 # variables are shared with run.sh and kit.env
# What the scripts of both boards share; run.sh reads it in.
#
# POSIX sh and small tools that every board has (cat chmod cp cut date df grep gzip head kill mkdir mv rm sed sha256sum
# tar tr), so that it runs under Ubuntu, Qualcomm Linux and Android alike: no bash, awk or Python. Numbers stay below
# 2^31, because Android's sh counts in 32 bits: sizes are in KiB. All paths are relative to the kit's folder.

tab=$(printf '\t')
root=${EDGEZSAD_ROOT:-} # in front of /etc, /proc and /sys; only the tests set it
result=result

restart=no
retime=no
only_check=no
any_mode=no
iterations=
warmup=
chunk=100

say() { printf '%s\n' "$*"; }

warn() {
    printf 'warning: %s\n' "$*" >&2
    note "$facts" warning "$*"
}

refuse() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# note FILE KEY VALUE: a row of a table; line ends and tabs in the value become spaces.
note() {
    printf '%s\t%s\n' "$2" "$(printf '%s' "$3" | tr '\n\t\r' '   ')" >>"$1"
}

# noted FILE KEY: the first value under that key.
noted() {
    sed -n "s/^$2${tab}//p" "$1" | head -n 1
}

# sum FILE: its SHA-256.
sum() {
    sha256sum "$1" | cut -d ' ' -f 1
}

number() {
    case $2 in
        '' | *[!0-9]* | ?????????*) refuse "$1 $2: not a whole number" ;;
    esac
}

options() {
    while [ $# -gt 0 ]; do
        case $1 in
            --check) only_check=yes ;;
            --any-mode) any_mode=yes ;;
            --restart) restart=yes ;;
            --retime) retime=yes ;;
            --iterations | --warmup | --chunk)
                [ $# -gt 1 ] || refuse "$1 needs a number"
                number "$1" "$2"
                case $1 in
                    --iterations) iterations=$2 ;;
                    --warmup) warmup=$2 ;;
                    *) chunk=$2 ;;
                esac
                shift
                ;;
            -h | --help)
                usage
                exit 0
                ;;
            *) refuse "$1: no such option; run.sh --help lists them" ;;
        esac
        shift
    done
    [ "${iterations:-1}" -gt 0 ] || refuse "--iterations 0: at least one is needed"
    [ "$chunk" -gt 0 ] || refuse "--chunk 0: at least one is needed"
}

# The copy of the kit is whole. Each image is checked as it is used, by its own hash.
check_kit() {
    [ -s SHA256SUMS ] || refuse "SHA256SUMS is missing; copy the kit again"
    while read -r hash name <&3; do
        [ -f "$name" ] || refuse "$name is missing; copy the kit again"
        [ "$(sum "$name")" = "$hash" ] || refuse "$name is damaged; copy the kit again"
    done 3<SHA256SUMS
}

# check_space KIB
check_space() {
    free=$(df -kP . | sed -n '$p' | tr -s ' ' | sed 's/^\(.* \)\([0-9][0-9]*\) [0-9][0-9]*% .*$/\2/')
    case $free in
        '' | *[!0-9]* | ??????????*) return 0 ;; # unknown, or more than fits into 32 bits: enough
    esac
    [ "$free" -gt "$1" ] || refuse "$free KiB are free here, $1 KiB are needed; copy the kit to a larger disk"
}

# One run at a time; the lock of a run that was killed is taken over.
lock() {
    mkdir -p "$result"
    if [ -s "$result/pid" ] && kill -0 "$(cat "$result/pid")" 2>/dev/null; then
        refuse "another run.sh is at work here (process $(cat "$result/pid")); wait, or delete $result/pid if it is not"
    fi
    [ "$restart" = no ] || rm -rf "${result:?}"
    mkdir -p "$result"
    printf '%s\n' $$ >"$result/pid"
    trap 'rm -f "$result/pid"' EXIT
    trap 'printf "interrupted; run it again and it goes on where it was\n" >&2; exit 130' INT TERM HUP
}

# What was begun goes on only with the same kit and the same software, or the result would be a mixture.
begin() {
    if [ -s "$result/facts.tsv" ]; then
        for key in kit_sha256 model_sha256 tool_version; do
            was=$(noted "$result/facts.tsv" "$key")
            is=$(noted "$facts" "$key")
            [ "$was" = "$is" ] ||
                refuse "$key was $was when this result was begun and is $is now; run.sh --restart begins anew"
        done
        rm -f "$facts"
        say "going on with what $result holds"
    else
        mv "$facts" "$result/facts.tsv"
    fi
    facts=$result/facts.tsv
    if [ "$retime" = yes ]; then
        rm -rf "$result/time" "$result/time.tsv"
        [ ! -f "$result/commands.tsv" ] || sed "/^time${tab}/d" "$result/commands.tsv" >"$result/commands.new"
        [ ! -f "$result/commands.new" ] || mv "$result/commands.new" "$result/commands.tsv"
    fi
    note "$result/sessions.tsv" "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$(condition_line)"
}

# logged STEP LOG WORDS...: run a command, keep its words and all that it says.
logged() {
    step=$1
    log=$result/logs/$2
    shift 2
    mkdir -p "$result/logs"
    grep -q "^$step${tab}" "$result/commands.tsv" 2>/dev/null || note "$result/commands.tsv" "$step" "$*"
    if "$@" >"$log" 2>&1 </dev/null; then
        return 0
    fi
    printf 'error: this failed:\n%s\n' "$*" >&2
    grep -i -e '\[E\]' -e error "$log" | head -n 5 >&2
    refuse "all that it said is in $log; run it again and it goes on where it was"
}

# expand FILE SHA256 TARGET: one image as the tool reads it, raw float32.
expand() {
    case $1 in
        *.gz) gzip -dc "$1" >"$3" 2>/dev/null || refuse "$1 is damaged or missing, or the disk is full; copy it again" ;;
        *) cp "$1" "$3" || refuse "$1 is missing, or the disk is full; copy it again" ;;
    esac
    [ "$(sum "$3")" = "$2" ] || refuse "$1 is damaged; copy it again"
}

# time_note FILE ITERATIONS WARMUP: what a timing run is done with.
time_note() {
    note "$1" date "$(date -u +%Y-%m-%dT%H:%M:%SZ)"
    note "$1" iterations "$2"
    note "$1" warmup "$3"
    note "$1" power_mode "$(power_mode)"
    note "$1" clocks "$(clocks)"
    note "$1" before "$(condition_line)"
}

start_progress() {
    session_start=$(date +%s)
    session_done=0
}

# progress DONE: how far, how fast, how long still.
progress() {
    elapsed=$(($(date +%s) - session_start))
    left=$((elapsed * (IMAGES - $1) / (session_done > 0 ? session_done : 1)))
    say "$1 of $IMAGES images, ${elapsed} s in this session, about $((left / 60)) min left"
}

# pack NAMES...: the result as one file. Outputs have their hashes in tables of their own, from when they were written.
pack() {
    cp kit.json images.tsv "$result/"
    rm -f "$result/SHA256SUMS"
    for file in kit.json images.tsv facts.tsv commands.tsv sessions.tsv time.tsv times.json profile.json \
        time/time.tsv time/profile.csv time/profile.txt; do
        [ ! -f "$result/$file" ] || printf '%s  %s\n' "$(sum "$result/$file")" "$file" >>"$result/SHA256SUMS"
    done
    rm -f "$NAME-result.tar.part"
    tar -cf "$NAME-result.tar.part" -C "$result" \
        kit.json images.tsv facts.tsv commands.tsv sessions.tsv SHA256SUMS logs "$@" ||
        refuse "the result could not be packed; is the disk full?"
    mv "$NAME-result.tar.part" "$NAME-result.tar"
    say "done: $NAME-result.tar ($(sum "$NAME-result.tar"))"
    say "copy it to the host; there: edgezsad device ingest $NAME-result.tar --config PROFILE"
}

# carry_out OPTIONS...: the order of every board. Its script says how: usage, check_board, needed_kib (of free space),
# work (all that is computed, and its packing), power_mode, clocks, condition_line.
carry_out() {
    options "$@"
    facts=$result/facts.new
    check_kit
    lock
    rm -f "$facts"
    note "$facts" kit_sha256 "$(sum kit.json)"
    check_board
    [ "$only_check" = no ] || exit 0
    check_space "$(needed_kib)"
    begin
    work
}
