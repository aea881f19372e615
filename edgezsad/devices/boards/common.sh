# shellcheck shell=sh
# shellcheck disable=SC2034,SC2153 # variables are shared with run.sh and kit.env
# Functions that the scripts of both boards share; run.sh sources this file.
#
# POSIX sh and small tools that every board has (cat chmod cp cut date df grep gzip head kill mkdir mv rm sed sha256sum
# tar touch tr), so that it runs under Ubuntu, Qualcomm Linux and Android: no bash, awk or Python. Numbers stay below
# 2^31, because Android's sh counts in 32 bits: sizes are in KiB. All paths are relative to the kit's folder.

export ORT_DISABLE_TELEMETRY=1
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

fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# note FILE KEY VALUE: append a row; line ends and tabs in the value become spaces.
note() {
    printf '%s\t%s\n' "$2" "$(printf '%s' "$3" | tr '\n\t\r' '   ')" >>"$1"
}

# noted FILE KEY: the first value of that key.
noted() {
    sed -n "s/^$2${tab}//p" "$1" | head -n 1
}

# sum FILE: its SHA-256.
sum() {
    sha256sum "$1" | cut -d ' ' -f 1
}

number() {
    case $2 in
        '' | *[!0-9]* | ?????????*) fail "$1 $2: not a whole number" ;;
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
                [ $# -gt 1 ] || fail "$1 needs a number"
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
            *) fail "$1: unknown option; run.sh --help lists them" ;;
        esac
        shift
    done
    [ "${iterations:-1}" -gt 0 ] || fail "--iterations 0: expected at least 1"
    [ "$chunk" -gt 0 ] || fail "--chunk 0: expected at least 1"
}

# Check that the kit was copied completely. Each image is checked by its own hash when it is used.
check_kit() {
    [ -s SHA256SUMS ] || fail "SHA256SUMS is missing; copy the kit again"
    while read -r hash name <&3; do
        [ -f "$name" ] || fail "$name is missing; copy the kit again"
        [ "$(sum "$name")" = "$hash" ] || fail "$name is damaged; copy the kit again"
    done 3<SHA256SUMS
}

# check_space KIB
check_space() {
    free=$(df -kP . | sed -n '$p' | tr -s ' ' | sed 's/^\(.* \)\([0-9][0-9]*\) [0-9][0-9]*% .*$/\2/')
    case $free in
        '' | *[!0-9]* | ??????????*) return 0 ;; # unknown, or more than fits into 32 bits: enough
    esac
    [ "$free" -gt "$1" ] || fail "$free KiB are free here, $1 KiB are needed; copy the kit to a larger disk"
}

# One run at a time; the lock of a killed run is taken over.
lock() {
    mkdir -p "$result"
    if [ -s "$result/pid" ] && kill -0 "$(cat "$result/pid")" 2>/dev/null; then
        fail "another run.sh is running here (process $(cat "$result/pid")); wait, or delete $result/pid if it is not"
    fi
    [ "$restart" = no ] || rm -rf "${result:?}"
    mkdir -p "$result"
    printf '%s\n' $$ >"$result/pid"
    trap 'rm -f "$result/pid"' EXIT
    trap 'printf "interrupted; run it again to continue\n" >&2; exit 130' INT TERM HUP
}

# Continue only with the same kit and software: outputs of two engines or versions are not one result.
begin() {
    if [ -s "$result/facts.tsv" ]; then
        for key in kit_sha256 model_sha256 tool_version; do
            was=$(noted "$result/facts.tsv" "$key")
            is=$(noted "$facts" "$key")
            [ "$was" = "$is" ] ||
                fail "$key was $was when this result was begun and is $is now; run.sh --restart starts over"
        done
        rm -f "$facts"
        say "continuing with what $result holds"
    else
        mv "$facts" "$result/facts.tsv"
    fi
    facts=$result/facts.tsv
    if [ "$retime" = yes ]; then
        rm -rf "$result/time"
        [ ! -f "$result/commands.tsv" ] || sed "/^time${tab}/d" "$result/commands.tsv" >"$result/commands.new"
        [ ! -f "$result/commands.new" ] || mv "$result/commands.new" "$result/commands.tsv"
    fi
    note "$result/sessions.tsv" "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$(condition_line)"
}

# logged STEP LOG WORDS...: run a command, keep its words and its output.
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
    fail "its whole output is in $log; run it again to continue"
}

# expand FILE SHA256 TARGET: one image as the tool reads it, raw float32.
expand() {
    case $1 in
        *.gz) gzip -dc "$1" >"$3" 2>/dev/null || fail "$1 is damaged or missing, or the disk is full; copy it again" ;;
        *) cp "$1" "$3" || fail "$1 is missing, or the disk is full; copy it again" ;;
    esac
    [ "$(sum "$3")" = "$2" ] || fail "$1 is damaged; copy it again"
}

# The first image, which is timed.
expand_first() {
    IFS=$tab read -r _ _ file sha _ <images.tsv
    expand "$file" "$sha" "$result/image.raw"
}

# time_note FILE ITERATIONS WARMUP: the conditions of a timing run.
time_note() {
    note "$1" date "$(date -u +%Y-%m-%dT%H:%M:%SZ)"
    note "$1" iterations "$2"
    note "$1" warmup "$3"
    note "$1" power_mode "$(power_mode)"
    note "$1" clocks "$(clocks)"
    note "$1" before "$(condition_line)"
}

# output NUMBER TARGET: the file of an image's output.
output() { printf '%s\n' "$result/outputs/$2/$1.$suffix"; }

# Drop rows of outputs.tsv whose output is missing, cut off or of another image, as a loss of power leaves them.
check_outputs() {
    touch "$result/outputs.tsv"
    if [ -s "$result/outputs.tsv" ]; then
        : >"$result/outputs.new"
        while IFS=$tab read -r number target _ sha _ <&4; do
            known=$(sed -n "s/^${number}${tab}${sha}${tab}//p" "$result/outputs.tsv")
            path=$(output "$number" "$target")
            if [ -n "$known" ] && [ -f "$path" ] && [ "$(sum "$path")" = "$known" ]; then
                printf '%s\t%s\t%s\n' "$number" "$sha" "$known" >>"$result/outputs.new"
            fi
        done 4<images.tsv
        mv "$result/outputs.new" "$result/outputs.tsv"
    fi
    count=$(grep -c . "$result/outputs.tsv")
    session_start=$(date +%s)
    session_done=0
}

# has_output NUMBER
has_output() { grep -q "^$1${tab}" "$result/outputs.tsv"; }

# keep FILE NUMBER TARGET SHA256: file an output under its image, then note the hashes of input and output.
keep() {
    path=$(output "$2" "$3")
    { mkdir -p "$result/outputs/$3" && mv "$1" "$path" &&
        printf '%s\t%s\t%s\n' "$2" "$4" "$(sum "$path")" >>"$result/outputs.tsv"; } ||
        fail "the output of image $2 could not be written; is the disk full?"
    count=$((count + 1))
    session_done=$((session_done + 1))
}

progress() {
    elapsed=$(($(date +%s) - session_start))
    left=$((elapsed * (IMAGES - count) / (session_done > 0 ? session_done : 1)))
    say "$count of $IMAGES images, ${elapsed} s in this session, about $((left / 60)) min left"
}

# Pack the result as one file. Outputs have their hashes in outputs.tsv, from when they were written.
pack() {
    cp kit.json images.tsv "$result/"
    rm -f "$result/SHA256SUMS"
    for file in kit.json images.tsv facts.tsv commands.tsv sessions.tsv outputs.tsv time/time.tsv time/times.json \
        time/profile.json time/profile.csv; do
        [ ! -f "$result/$file" ] || printf '%s  %s\n' "$(sum "$result/$file")" "$file" >>"$result/SHA256SUMS"
    done
    rm -f "$NAME-result.tar.part"
    tar -cf "$NAME-result.tar.part" -C "$result" \
        kit.json images.tsv facts.tsv commands.tsv sessions.tsv outputs.tsv SHA256SUMS logs time outputs ||
        fail "the result could not be packed; is the disk full?"
    mv "$NAME-result.tar.part" "$NAME-result.tar"
    say "done: $NAME-result.tar ($(sum "$NAME-result.tar"))"
    say "copy it to the host; there: edgezsad device ingest $NAME-result.tar --config PROFILE"
}

# main OPTIONS...: the same steps on every board. Its script defines usage, suffix, check_board, needed_kib (of free
# space), power_mode, clocks, condition_line, build, time_model and run_images.
main() {
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
    build
    [ -d "$result/time" ] || time_model
    check_outputs
    run_images
    say "$count of $IMAGES images"
    pack
}
