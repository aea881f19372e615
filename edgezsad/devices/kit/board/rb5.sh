#!/bin/sh
# Runs the kit on an RB5 Gen2: checks the board, times the model on its GPU, runs every image, packs one result file.
# It needs the QNN SDK's qnn-net-run and libQnnGpu.so, or, where the kit holds no DLC, Python with onnxruntime-qnn.
# Interrupt it as you like and start it again: it goes on where it was.
set -u
cd "$(dirname "$0")" || exit 1
# shellcheck source=common.sh
. ./common.sh
# shellcheck disable=SC1091
. ./kit.env

usage() {
    cat <<END
sh run.sh [--check] [--any-mode] [--restart] [--retime] [--iterations N] [--warmup N] [--chunk N]
  --check         only look at the board
  --any-mode      go on where the GPU's governor is not "performance"
  --restart       forget what was begun
  --retime        time the model again
  --iterations N  timed runs (100)
  --warmup N      runs before them (20)
  --chunk N       images that are unpacked and run at a time (100)
QNN_SDK_ROOT names the SDK's folder where its tools are not on PATH.
END
}

# search KIND NAME: the path of a program or library: beside this script, on the search path, in the SDK.
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
        command -v python3 >/dev/null || refuse "the kit holds no DLC, and there is no python3 to run its ONNX file"
        version=$(python3 ort_qnn.py --version 2>"$result/version.txt") ||
            refuse "ONNX Runtime's QNN provider does not start: $(sed -n '$p' "$result/version.txt"); pip install onnxruntime-qnn"
        return 0
    fi
    model=models/model.dlc
    tool=qnn-net-run
    program=$(search program qnn-net-run) ||
        refuse "qnn-net-run is not here, not on PATH and not in QNN_SDK_ROOT; copy it from the QNN SDK's bin/aarch64-*"
    library=$(search library libQnnGpu.so) ||
        refuse "libQnnGpu.so is not here, not on LD_LIBRARY_PATH and not in QNN_SDK_ROOT; copy it from lib/aarch64-*"
    # What was pushed to Android has lost its permission to run.
    [ -x "$program" ] || chmod +x "$program"
    LD_LIBRARY_PATH=$(dirname "$library"):${LD_LIBRARY_PATH:-}
    export LD_LIBRARY_PATH
    "$program" --version >"$result/version.txt" 2>&1 </dev/null
    version=$(sed -n 's/.*v\([0-9][0-9.]*\).*/\1/p' "$result/version.txt" | head -n 1)
    [ -n "$version" ] || refuse "$tool --version says no version; look at $result/version.txt"
    # Older versions take a DLC only by way of a library.
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
        warn "the GPU's governor can not be read: start this as root to have it in the record"
    elif [ "$mode" != performance ]; then
        [ "$any_mode" = yes ] ||
            refuse "the GPU's governor is $mode: as root, echo performance >$gpu/devfreq/governor; or use --any-mode (the record will say so)"
        warn "the GPU's governor is $mode, not performance"
    fi
}

# Two pictures whose results the host can compute stand first and last in every list: a tool that mixes up the order of
# its results does not go unseen.
canaries() {
    mkdir -p "$result/in"
    while IFS=$tab read -r name file sha <&4; do
        expand "$file" "$sha" "$result/in/$name.raw"
    done 4<canaries.tsv
}

time_model() {
    [ ! -d "$result/time" ] || return 0
    say "timing: ${iterations:-100} runs after ${warmup:-20} of warm-up"
    rm -rf "$result/time.new" "$result/out"
    mkdir "$result/time.new"
    total=$((${iterations:-100} + ${warmup:-20}))
    list=$result/time.new/input_list.txt
    line=0
    while [ $line -lt $total ]; do
        line=$((line + 1))
        printf 'image:=%s\n' "$result/in/canary-a.raw"
    done >"$list"
    time_note "$result/time.new/time.tsv" "${iterations:-100}" "${warmup:-20} runs"
    net_run time "$list" "$result/out"
    note "$result/time.new/time.tsv" after "$(condition_line)"
    for name in qnn-profiling-data_0.log profile.csv; do
        [ ! -f "$result/out/$name" ] || cp "$result/out/$name" "$result/time.new/"
    done
    if viewer=$(search program qnn-profile-viewer) && [ -f "$result/time.new/qnn-profiling-data_0.log" ]; then
        logged view view.log "$viewer" --input_log "$result/time.new/qnn-profiling-data_0.log" --output "$result/time.new/profile.csv"
        cp "$result/logs/view.log" "$result/time.new/profile.txt"
    elif [ "$tool" != onnxruntime-qnn ]; then
        warn "qnn-profile-viewer is not here: on the host, turn time/qnn-profiling-data_0.log into a CSV for the ingest's --timing"
    fi
    rm -rf "$result/out"
    mv "$result/time.new" "$result/time"
}

# finish_chunk: run what $list holds, and keep results and hashes together under the chunk's name.
finish_chunk() {
    folder=$result/chunks/$name
    printf 'image:=%s\n' "$result/in/canary-b.raw" >>"$list"
    net_run run "$list" "$result/out"
    line=0
    while IFS= read -r entry <&5; do
        for tensor in score map; do
            [ -s "$result/out/Result_$line/$tensor.raw" ] ||
                refuse "Result_$line/$tensor.raw of ${entry#image:=} was not written; look at $result/logs/run.log"
        done
        printf '%s\t%s\t%s\n' "$line" "$(sum "$result/out/Result_$line/score.raw")" "$(sum "$result/out/Result_$line/map.raw")"
        line=$((line + 1))
    done 5<"$list" >"$result/out/outputs.tsv"
    mv "$list" "$result/out/input_list.txt"
    mkdir -p "$result/chunks"
    rm -rf "$folder"
    mv "$result/out" "$folder"
    count=$((count + size))
    session_done=$((session_done + size))
    progress "$count"
    rm -f "$result"/in/[0-9]*.raw
    size=0
}

run_images() {
    # Chunks of another size would not fit to those that are done.
    [ -s "$result/chunk" ] || printf '%s\n' "$chunk" >"$result/chunk"
    chunk=$(cat "$result/chunk")
    count=0
    size=0
    index=0
    list=$result/input_list.txt
    rm -rf "$result/out" "$result"/in/[0-9]*.raw
    start_progress
    say "$IMAGES images, $chunk at a time; the model is prepared for each lot, which takes up to a minute (an estimate)"
    while IFS=$tab read -r number _ file sha _ <&4; do
        name=$(printf '%04d' "$((index / chunk))")
        index=$((index + 1))
        if [ -d "$result/chunks/$name" ]; then
            count=$((count + 1))
            continue
        fi
        [ "$size" -gt 0 ] || printf 'image:=%s\n' "$result/in/canary-a.raw" >"$list"
        expand "$file" "$sha" "$result/in/$number.raw"
        printf 'image:=%s\n' "$result/in/$number.raw" >>"$list"
        size=$((size + 1))
        if [ "$size" -eq "$chunk" ] || [ "$index" -eq "$IMAGES" ]; then
            finish_chunk
        fi
    done 4<images.tsv
    say "$count of $IMAGES images"
}

needed_kib() { printf '%s\n' $((KIB_IMAGE * (chunk + 3) + KIB_OUTPUT * IMAGES)); }

work() {
    canaries
    time_model
    run_images
    pack time chunks
}

carry_out "$@"
