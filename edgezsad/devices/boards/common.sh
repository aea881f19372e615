# shellcheck shell=sh
# shellcheck disable=SC2034,SC2153 # variables are shared with run.sh and kit.env
# Functions that the scripts of both boards share; run.sh sources this file.
#
# POSIX sh and small tools that every board has, so that it runs under Ubuntu, Qualcomm Linux and Android: no bash or
# awk. Numbers stay below 2^31, because Android's sh counts in 32 bits: sizes are in KiB. Paths are relative to the kit's
# folder.

export ORT_DISABLE_TELEMETRY=1
tools="cat chmod cp cut date df grep gzip head mkdir mv rm sed sha256sum tar touch tr"
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
screen=no
watcher= # process that records power and temperature

say() { printf '%s\n' "$*"; }

warn() {
    printf 'warning: %s\n' "$*" >&2
    note "$facts" warning "$*"
}

fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# slow TEXT: what makes the board slower than the paper's.
slow() {
    [ "$any_mode" = yes ] || fail "$1, or use --any-mode (the record will say so)"
    warn "$1"
}

full() { fail "$1 cannot be written: is the disk full?"; }

# note FILE KEY VALUE...: append rows; line ends and tabs in a value become spaces.
note() {
    table=$1
    shift
    while [ $# -gt 1 ]; do
        printf '%s\t%s\n' "$1" "$(printf '%s' "${2:-unknown}" | tr '\n\t\r' '   ')" >>"$table" || full "$table"
        shift 2
    done
}

# sum FILE: its SHA-256.
sum() {
    sha256sum "$1" | cut -d ' ' -f 1
}

options() {
    while [ $# -gt 0 ]; do
        case $1 in
            --check) only_check=yes ;;
            --any-mode) any_mode=yes ;;
            --restart) restart=yes ;;
            --retime) retime=yes ;;
            --iterations | --warmup | --chunk)
                case ${2:-} in
                    '' | 0* | *[!0-9]* | ?????????*) fail "$1 ${2:-}: expected a whole number above 0" ;;
                esac
                eval "${1#--}=$2"
                shift
                ;;
            -h | --help)
                sed -n '2,$ { /^[^#]/q; s/^# \{0,1\}//p; }' run.sh
                exit 0
                ;;
            *) fail "$1: unknown option; run.sh --help lists them" ;;
        esac
        shift
    done
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

# One run at a time; the lock of a killed run is taken over. --check works in a folder of its own.
lock() {
    for name in $tools; do
        command -v "$name" >/dev/null || fail "$name is missing on this system, and this script needs it"
    done
    [ "$only_check" = no ] || result=$result.check$$
    # A process of another user gets no signal, but it is in /proc.
    pid=$(cat "$result/pid" 2>/dev/null)
    if [ -n "$pid" ] && { kill -0 "$pid" 2>/dev/null || [ -d "/proc/$pid" ]; }; then
        fail "another run.sh is running here (process $pid); wait, or delete $result/pid if it is not"
    fi
    { mkdir -p "$result" && touch "$result/facts.new" "$result/pid" "$NAME-result.tar.part" &&
        rm "$NAME-result.tar.part"; } 2>/dev/null ||
        fail "this folder or $result in it cannot be written: read-only, full, or of another user, as after sudo (then use sudo again, or delete $result)"
    [ "$restart" = no ] || rm -rf "${result:?}"
    { mkdir -p "$result" && printf '%s\n' $$ >"$result/pid"; } || full "$result/pid"
    trap 'rm -rf "$result/pid" "result.check$$"; [ -z "$watcher" ] || kill "$watcher" 2>/dev/null' EXIT
    trap 'printf "interrupted; run it again to continue\n" >&2; exit 130' INT TERM HUP
}

# Continue only with the same kit and software: outputs of two engines or versions are not one result.
begin() {
    if [ -s "$result/facts.tsv" ]; then
        for key in kit_sha256 model_sha256 tool_version; do
            was=$(sed -n "s/^$key${tab}//p" "$result/facts.tsv" | head -n 1)
            is=$(sed -n "s/^$key${tab}//p" "$facts" | head -n 1)
            [ "$was" = "$is" ] ||
                fail "$key was $was when this result was begun and is $is now; run.sh --restart starts over"
        done
        rm -f "$facts"
        say "continuing with what $result holds"
    else
        mv "$facts" "$result/facts.tsv" || full "$result/facts.tsv"
    fi
    facts=$result/facts.tsv
    [ "$retime" = no ] || rm -rf "$result/time"
}

# tried STEP LOG WORDS...: run a command, keep its words and its output; returns its code. Where `screen` is yes, its
# standard output goes to the screen.
tried() {
    step=$1
    log=$result/logs/$2
    shift 2
    mkdir -p "$result/logs"
    touch "$result/commands.tsv"
    [ "$(sed -n "s/^$step${tab}//p" "$result/commands.tsv" | sed -n '$p')" = "$*" ] || note "$result/commands.tsv" "$step" "$*"
    if [ "$screen" = yes ]; then "$@" 2>"$log" </dev/null; else "$@" >"$log" 2>&1 </dev/null; fi
}

# What a tool said first, for a message of one line.
first_line() { sed -n '/[^ ]/{p;q;}' "$1" 2>/dev/null; }

# meaning CODE
meaning() {
    case $1 in
        126) say "it cannot be executed here: of another system, or on a noexec mount" ;;
        137) say "it was killed, as where memory runs out: add swap, or stop the desktop (sudo init 3)" ;;
        *) [ "$1" -le 128 ] && say "exit code $1" || say "it ended by signal $(($1 - 128)) (6: abort, 11: crash)" ;;
    esac
}

# logged STEP LOG WORDS...: as `tried`; a failure ends the script.
logged() {
    tried "$@" && return 0
    code=$?
    shift 2
    printf 'error: this failed:\n%s\n' "$*" >&2
    grep -i -e '\[E\]' -e error -e insufficient "$log" | head -n 5 >&2
    fail "$(meaning $code); its whole output is in $log, last: $(sed -n '$p' "$log"); run it again to continue"
}

# expand FILE SHA256 TARGET: one image as the tool reads it, raw float32.
expand() {
    gzip -dc "$1" >"$3" 2>/dev/null || fail "$1 is damaged or missing, or the disk is full; copy it again"
    [ "$(sum "$3")" = "$2" ] || fail "$1 is damaged; copy it again"
}

# The first image, which is timed.
expand_first() {
    IFS=$tab read -r _ _ file sha _ <images.tsv
    expand "$file" "$sha" "$result/image.raw"
}

# time_note ITERATIONS WARMUP: begin the record of a timing run with its conditions.
time_note() {
    rm -rf "$result/time.new"
    mkdir "$result/time.new"
    note "$result/time.new/time.tsv" date "$(date -u +%Y-%m-%dT%H:%M:%SZ)" iterations "$1" warmup "$2" \
        power_mode "$(power_mode)" clocks "$(clocks)"
}

# Drop rows of outputs.tsv whose output is missing, cut off or of another image, as a loss of power leaves them.
check_outputs() {
    touch "$result/outputs.tsv"
    if [ -s "$result/outputs.tsv" ]; then
        : >"$result/outputs.new"
        while IFS=$tab read -r number target _ sha _ <&4; do
            known=$(sed -n "s/^${number}${tab}${sha}${tab}//p" "$result/outputs.tsv")
            path=$result/outputs/$target/$number.$suffix
            if [ -n "$known" ] && [ -f "$path" ] && [ "$(sum "$path")" = "$known" ]; then
                printf '%s\t%s\t%s\n' "$number" "$sha" "$known" >>"$result/outputs.new" || full "$result/outputs.new"
            fi
        done 4<images.tsv
        mv "$result/outputs.new" "$result/outputs.tsv" || full "$result/outputs.tsv"
    fi
    count=$(grep -c . "$result/outputs.tsv")
    session_start=$(date +%s)
    session_done=0
}

# keep FILE NUMBER TARGET SHA256: file an output under its image, then note the hashes of input and output.
keep() {
    path=$result/outputs/$3/$2.$suffix
    { mkdir -p "$result/outputs/$3" && mv "$1" "$path" &&
        printf '%s\t%s\t%s\n' "$2" "$4" "$(sum "$path")" >>"$result/outputs.tsv"; } ||
        full "the output of image $2"
    count=$((count + 1))
    session_done=$((session_done + 1))
}

progress() {
    elapsed=$(($(date +%s) - session_start))
    left=$((elapsed * (IMAGES - count) / (session_done > 0 ? session_done : 1)))
    say "$count of $IMAGES images, ${elapsed} s in this session, about $((left / 60)) min left"
}

# sums: a row for each small file of the result. Outputs have their hashes in outputs.tsv, from when they were written.
sums() {
    for path in "$result"/*.json "$result"/*.tsv "$result"/logs/* "$result"/time/*; do
        [ ! -f "$path" ] || printf '%s  %s\n' "$(sum "$path")" "${path#"$result/"}" || return 1
    done
}

# Pack the result as one file, if every image has its row.
pack() {
    count=$(grep -c . "$result/outputs.tsv")
    [ "$count" -eq "$IMAGES" ] || fail "$count of $IMAGES images have an output; run it again to continue"
    { cp kit.json images.tsv "$result/" && sums >"$result/SHA256SUMS"; } || full "$result/SHA256SUMS"
    part=$NAME-result.tar.part
    set -- kit.json images.tsv facts.tsv commands.tsv outputs.tsv SHA256SUMS logs outputs
    for name in sentinels.tsv singles.tsv time; do
        [ ! -e "$result/$name" ] || set -- "$@" "$name"
    done
    { tar -cf "$part" -C "$result" "$@" && mv "$part" "$NAME-result.tar"; } || full "$NAME-result.tar"
    say "done: $NAME-result.tar ($(sum "$NAME-result.tar"))"
    say "copy it to the host; there: edgezsad device ingest $NAME-result.tar, with the kit's --config, or --checkpoint and --images"
}

# main OPTIONS...: the same steps on every board. Its script defines suffix, check_board, needed_kib (of free
# space), power_mode, clocks, build, time_model and run_images.
main() {
    options "$@"
    lock
    check_kit
    facts=$result/facts.new
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
    pack
}
