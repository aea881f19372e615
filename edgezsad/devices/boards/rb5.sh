#!/bin/sh
# Run the kit on an RB5 Gen2: check the board, time the model on its GPU, run every image, pack one result file.
# It needs the QNN SDK's qnn-net-run and libQnnGpu.so, or, where the kit holds no DLC, Python with onnxruntime-qnn.
# It may be interrupted and started again.
set -u
cd "$(dirname "$0")" || exit 1
# shellcheck source=common.sh
. ./common.sh
# shellcheck disable=SC1091
. ./kit.env
suffix=raw

usage() {
    cat <<END
sh run.sh [--check] [--any-mode] [--restart] [--retime] [--iterations N] [--warmup N] [--chunk N]
  --check         only check the board
  --any-mode      continue where the GPU's governor is not "performance"
  --restart       delete results and start over
  --retime        time the model again
  --iterations N  timed runs (100)
  --warmup N      runs before them (20)
  --chunk N       images that are unpacked and run at a time (100)
Set QNN_SDK_ROOT to the SDK's folder if its tools are not on PATH.
END
}

# search KIND NAME: the path of a program or library: next to this script, on the search path, in the SDK.
search() {
    if [ "$1" = program ]; then
        path=${PATH:-}
        below=bin
    else
        path=${LD_LIBRARY_PATH:-}:/vendor/lib64:/usr/lib:/usr/lib/aarch64-linux-gnu
        below=lib
    fi
    old=$IFS
    IFS=:
    # shellcheck disable=SC2086
    set -- "$2" . $path
    IFS=$old
    name=$1
    shift
    for folder in "$@" "${QNN_SDK_ROOT:-/nowhere}/$below"/aarch64-*; do
        if [ -n "$folder" ] && [ -f "$folder/$name" ]; then
            printf '%s\n' "$folder/$name"
            return 0
        fi
    done
    return 1
}

find_tool() {
    if [ ! -f models/model.dlc ]; then
        tool=onnxruntime-qnn
        model=models/model-fp16.onnx
        command -v python3 >/dev/null || fail "the kit holds no DLC, and there is no python3 to run its ONNX file"
        version=$(python3 ort_qnn.py --version 2>"$result/version.txt") ||
            fail "ONNX Runtime's QNN provider does not start: $(sed -n '$p' "$result/version.txt"); pip install onnxruntime-qnn"
        return 0
    fi
    model=models/model.dlc
    tool=qnn-net-run
    program=$(search program qnn-net-run) ||
        fail "qnn-net-run is not here, on PATH or in QNN_SDK_ROOT; copy it from the QNN SDK's bin/aarch64-*"
    library=$(search library libQnnGpu.so) ||
        fail "libQnnGpu.so is not here, on LD_LIBRARY_PATH or in QNN_SDK_ROOT; copy it from lib/aarch64-*"
    # adb push drops the permission to execute.
    [ -x "$program" ] || chmod +x "$program"
    LD_LIBRARY_PATH=$(dirname "$library"):${LD_LIBRARY_PATH:-}
    export LD_LIBRARY_PATH
    "$program" --version >"$result/version.txt" 2>&1 </dev/null
    version=$(sed -n 's/.*v\([0-9][0-9.]*\).*/\1/p' "$result/version.txt" | head -n 1)
    [ -n "$version" ] || fail "$tool prints no version; see $result/version.txt"
    # Older versions read a DLC only through a library.
    "$program" --help >"$result/help.txt" 2>&1 </dev/null
    if grep -q libQnnModelDlc "$result/help.txt" && search library libQnnModelDlc.so >/dev/null; then
        reader='--model libQnnModelDlc.so'
    else
        reader=
    fi
}

# net_run STEP LIST FOLDER: the model on every image of a list.
net_run() {
    mkdir -p "$3"
    if [ "$tool" = onnxruntime-qnn ]; then
        logged "$1" "$1.log" python3 ort_qnn.py --model "$model" --input_list "$2" --output_dir "$3"
    else
        # shellcheck disable=SC2086
        logged "$1" "$1.log" "$program" $reader --dlc_path "$model" --backend libQnnGpu.so --input_list "$2" \
            --output_dir "$3" --profiling_level basic
    fi
}

gpu=/sys/class/kgsl/kgsl-3d0

read_gpu() { head -n 1 "$root$gpu/$1" 2>/dev/null; }

power_mode() { read_gpu devfreq/governor; }

clocks() {
    for name in devfreq/governor gpuclk max_gpuclk devfreq/min_freq temp; do
        printf '%s=%s;' "${name##*/}" "$(read_gpu "$name")"
    done
}

condition_line() { clocks; }

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
    note "$facts" device "${device:-unknown}"
    note "$facts" soc "${soc:-unknown}"
    note "$facts" system "${system:-unknown}"
    note "$facts" tool "$tool"
    note "$facts" tool_version "$version"
    note "$facts" model "$model"
    note "$facts" model_sha256 "$(sum "$model")"
    note "$facts" power_mode "${mode:-unknown}"
    note "$facts" clocks "$(clocks)"
    note "$facts" gpu "$(read_gpu gpu_model)"
    say "${device:-unknown board}, ${soc:-unknown SoC}, ${system:-unknown system}, $tool $version, governor ${mode:-unknown}"
    if [ -z "$mode" ]; then
        warn "the GPU's governor cannot be read: start this as root to record it"
    elif [ "$mode" != performance ]; then
        [ "$any_mode" = yes ] ||
            fail "the GPU's governor is $mode: as root, echo performance >$gpu/devfreq/governor; or use --any-mode (the record will say so)"
        warn "the GPU's governor is $mode, not performance"
    fi
}

build() { :; }

time_model() {
    say "timing: ${iterations:-100} runs after ${warmup:-20} of warm-up"
    expand_first
    rm -rf "$result/time.new" "$result/out"
    mkdir "$result/time.new"
    total=$((${iterations:-100} + ${warmup:-20}))
    list=$result/input_list.txt
    line=0
    while [ $line -lt $total ]; do
        line=$((line + 1))
        printf 'image:=%s\n' "$result/image.raw"
    done >"$list"
    time_note "$result/time.new/time.tsv" "${iterations:-100}" "${warmup:-20} runs"
    net_run time "$list" "$result/out"
    note "$result/time.new/time.tsv" after "$(condition_line)"
    for name in qnn-profiling-data_0.log profile.csv; do
        [ ! -f "$result/out/$name" ] || cp "$result/out/$name" "$result/time.new/"
    done
    if viewer=$(search program qnn-profile-viewer) && [ -f "$result/time.new/qnn-profiling-data_0.log" ]; then
        logged view view.log "$viewer" --input_log "$result/time.new/qnn-profiling-data_0.log" --output "$result/time.new/profile.csv"
    elif [ "$tool" != onnxruntime-qnn ]; then
        warn "qnn-profile-viewer is not here: on the host, convert time/qnn-profiling-data_0.log to CSV for device ingest --timing"
    fi
    rm -rf "$result/out"
    mv "$result/time.new" "$result/time"
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
        cat "$folder/score.raw" "$folder/map.raw" >"$result/output.raw" || fail "an output could not be written; is the disk full?"
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
        ! has_output "$number" || continue
        expand "$file" "$sha" "$result/in/$number.raw"
        printf 'image:=%s\n' "$result/in/$number.raw" >>"$list"
        printf '%s\t%s\t%s\n' "$number" "$target" "$sha" >>"$result/chunk.tsv"
        size=$((size + 1))
        [ "$size" -lt "$chunk" ] || run_chunk
    done 4<images.tsv
    [ "$size" -eq 0 ] || run_chunk
}

needed_kib() { printf '%s\n' $((KIB_IMAGE * (chunk + 3) + KIB_OUTPUT * IMAGES)); }

main "$@"
