#!/bin/sh
# Run the kit on an RB5 Gen2: check the board, time the model on its GPU, run every image, pack one result file.
# It needs the QNN SDK's qnn-net-run and libQnnGpu.so.
# It may be interrupted and started again.
#
# sh run.sh [--check] [--any-mode] [--restart] [--retime] [--iterations N] [--warmup N] [--chunk N]
#   --check         only check the board
#   --any-mode      continue where the GPU's governor is not "performance"
#   --restart       delete results and start over
#   --retime        time the model again
#   --iterations N  timed runs (100)
#   --warmup N      runs before them (20)
#   --chunk N       images that are unpacked and run at a time (100)
#
# Set QNN_SDK_ROOT to the SDK's folder if its tools are not on PATH.
set -u
cd "$(dirname "$0")" || exit 1
# shellcheck source=common.sh
. ./common.sh
# shellcheck disable=SC1091
. ./kit.env
suffix=raw

# starts FOLDER: whether its qnn-net-run starts with libQnnGpu.so of the same SDK and target, or else of the search path.
starts() {
    program=$1/qnn-net-run
    [ -n "$1" ] && [ -f "$program" ] || return 1
    # adb push drops the permission to execute.
    [ -x "$program" ] || chmod +x "$program"
    path=${1%/bin/*}/lib/${1##*/}
    [ -d "$path" ] || path=$1:${LD_LIBRARY_PATH:-}:/vendor/lib64:/usr/lib:/usr/lib/aarch64-linux-gnu
    problem="libQnn$BACKEND.so for $program is missing: not in $path"
    for folder in $path; do [ ! -f "$folder/libQnn$BACKEND.so" ] || break; done
    [ -f "$folder/libQnn$BACKEND.so" ] || return 1
    LD_LIBRARY_PATH=$folder:${LD_LIBRARY_PATH:-} "$program" --version >"$result/version.txt" 2>&1 </dev/null
    code=$?
    version=$(sed -n 's/.*v\([0-9][0-9.]*\).*/\1/p' "$result/version.txt" | head -n 1)
    problem="$program does not start: $(first_line "$result/version.txt"); $(meaning $code)"
    [ -n "$version" ]
}

find_tool() {
    model=models/model.dlc
    tool=qnn-net-run
    problem="qnn-net-run is not here, on PATH or in QNN_SDK_ROOT; copy it from the QNN SDK's bin/aarch64-*"
    version=
    blanks=$IFS
    IFS=: # of search paths
    # shellcheck disable=SC2086
    set -- . $PATH
    [ -z "${QNN_SDK_ROOT:-}" ] || set -- "$QNN_SDK_ROOT"/bin/aarch64-*
    # An SDK holds programs for several systems: the first that starts is this system's.
    for place in "$@"; do
        ! starts "$place" || break
    done
    IFS=$blanks
    [ -n "$version" ] || fail "$problem"
    export LD_LIBRARY_PATH="$folder:${LD_LIBRARY_PATH:-}"
    note "$facts" program "$program" library "$folder/libQnn$BACKEND.so"
    built=$(grep -a -o 'v[0-9]*\.[0-9]*\.[0-9]*' "$folder/libQnn$BACKEND.so" | head -n 1)
    case v$version in
        "${built:-v}"*) ;;
        *) warn "$folder/libQnn$BACKEND.so is of version ${built#v}, $program of $version: copy both from one SDK" ;;
    esac
    [ -f "$folder/libQnnSystem.so" ] || warn "libQnnSystem.so is not in $folder; reading a DLC may need it"
    need=${QAIRT#*.}
    have=${version#*.}
    [ "${need%%.*}" -le "${have%%.*}" ] || warn "the DLC was written by QAIRT $QAIRT, newer than this SDK ($version), which may not read it: install QAIRT $QAIRT"
    # Older versions read a DLC only through a library.
    "$program" --help >"$result/help.txt" 2>&1 </dev/null
    reader=
    if grep -q libQnnModelDlc "$result/help.txt" && [ -f "$folder/libQnnModelDlc.so" ]; then
        reader='--model libQnnModelDlc.so'
    fi
}

# net_run STEP LIST FOLDER [LEVEL]: the model on every image of a list; with a level of profiling it may fail.
net_run() {
    mkdir -p "$3"
    how=logged
    [ -z "${4:-}" ] || how=tried
    # shellcheck disable=SC2086
    $how "$1" "$1.log" "$program" $reader --dlc_path "$model" --backend libQnn$BACKEND.so --input_list "$2" \
        --output_dir "$3" --profiling_level "${4:-basic}"
}

gpu=/sys/class/kgsl/kgsl-3d0

read_gpu() { head -n 1 "$root$gpu/$1" 2>/dev/null; }

power_mode() { read_gpu devfreq/governor; }

clocks() {
    for name in devfreq/governor gpuclk max_gpuclk devfreq/min_freq temp; do
        printf '%s=%s;' "${name##*/}" "$(read_gpu "$name")"
    done
}

check_board() {
    if command -v getprop >/dev/null; then
        system="Android $(getprop ro.build.version.release)"
        soc=$(getprop ro.soc.model)
        device=$(getprop ro.product.model)
    else
        system=$(sed -n 's/^PRETTY_NAME="\(.*\)"/\1/p' "$root/etc/os-release" 2>/dev/null | head -n 1)
        soc=$(head -n 1 "$root/sys/devices/soc0/machine" 2>/dev/null)
        device=$(tr -d '\000' <"$root/proc/device-tree/model" 2>/dev/null)
    fi
    case $soc in
        *QCS8550* | *QCM8550* | *SM8550*) ;;
        *) warn "the SoC is ${soc:-unknown}: the paper's RB5 Gen2 has a QCS8550 (the first RB5 has a QRB5165)" ;;
    esac
    find_tool
    mode=$(power_mode)
    note "$facts" device "$device" soc "$soc" system "$system" gpu "$(read_gpu gpu_model)" tool "$tool" \
        tool_version "$version" model "$model" model_sha256 "$(sum "$model")" power_mode "$mode" clocks "$(clocks)"
    say "${device:-unknown board}, ${soc:-unknown SoC}, ${system:-unknown system}, $tool $version, governor ${mode:-unknown}"
    if [ -z "$mode" ]; then
        warn "the GPU's governor cannot be read: start this as root to record it"
    elif [ "$mode" != performance ]; then
        slow "the GPU's governor is $mode: as root, echo performance >$gpu/devfreq/governor"
    fi
}

build() { :; }

# view NAME: keep the profile of the last run, and make its CSV if this system can.
view() {
    for profile in "$result/out"/qnn-profiling-data*.log; do
        [ -f "$profile" ] || return 1
        cp "$profile" "$result/time.new/$1.log" || full "$result/time.new/$1.log"
    done
    viewer=${program%/*}/qnn-profile-viewer
    [ -x "$viewer" ] || viewer=qnn-profile-viewer
    # It is optional: where it fails, the host makes the CSV.
    tried view view.log "$viewer" --input_log "$result/time.new/$1.log" --output "$result/time.new/$1.csv" ||
        warn "no qnn-profile-viewer here, or it fails ($(first_line "$log")): on the host, convert time/$1.log for device ingest --timing"
}

time_model() {
    say "timing: ${iterations:-100} runs after ${warmup:-20} of warm-up"
    expand_first
    rm -rf "$result/out"
    total=$((${iterations:-100} + ${warmup:-20}))
    list=$result/input_list.txt
    : >"$list"
    while [ "$(grep -c . "$list")" -lt $total ]; do
        printf 'image:=%s\n' "$result/image.raw" >>"$list" || full "$list"
    done
    time_note "${iterations:-100}" "${warmup:-20} runs"
    net_run time "$list" "$result/out"
    note "$result/time.new/time.tsv" after "$(clocks)"
    if ! view profile; then
        warn "$tool wrote no qnn-profiling-data*.log: there are no times; start this again to time it again"
        return 0
    fi
    rm -rf "$result/out"
    printf 'image:=%s\n' "$result/image.raw" "$result/image.raw" "$result/image.raw" >"$list"
    ! net_run layers "$list" "$result/out" detailed || view layers || warn "no profile of the layers was written"
    rm -rf "$result/out"
    mv "$result/time.new" "$result/time" || full "$result/time"
}

# Run the images of $list and file their outputs: score and map, float32, one after the other.
run_chunk() {
    rm -rf "$result/out"
    net_run run "$list" "$result/out"
    line=0
    while IFS=$tab read -r number target sha <&5; do
        folder=$result/out/Result_$line
        for tensor in score map; do
            [ -s "$folder/$tensor.raw" ] || fail "Result_$line/$tensor.raw of image $number was not written; see $result/logs/run.log"
        done
        cat "$folder/score.raw" "$folder/map.raw" >"$result/output.raw" || full "$result/output.raw"
        keep "$result/output.raw" "$number" "$target" "$sha"
        line=$((line + 1))
    done 5<"$result/chunk.tsv"
    progress
    clear_chunk
}

clear_chunk() {
    rm -rf "$result/out" "$result/in"
    mkdir "$result/in"
    : >"$list"
    : >"$result/chunk.tsv"
    size=0
}

run_images() {
    list=$result/input_list.txt
    clear_chunk
    say "$IMAGES images, $chunk at a time; preparing the model for each chunk takes up to a minute (an estimate)"
    while IFS=$tab read -r number target file sha _ <&4; do
        ! grep -q "^$number${tab}" "$result/outputs.tsv" || continue
        expand "$file" "$sha" "$result/in/$number.raw"
        printf 'image:=%s\n' "$result/in/$number.raw" >>"$list" || full "$list"
        printf '%s\t%s\t%s\n' "$number" "$target" "$sha" >>"$result/chunk.tsv" || full "$result/chunk.tsv"
        size=$((size + 1))
        [ "$size" -lt "$chunk" ] || run_chunk
    done 4<images.tsv
    [ "$size" -eq 0 ] || run_chunk
}

needed_kib() { printf '%s\n' $((KIB_IMAGE * (chunk + 3) + KIB_OUTPUT * IMAGES)); }

main "$@"
