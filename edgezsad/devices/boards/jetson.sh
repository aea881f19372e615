#!/bin/sh
# Run the kit on a Jetson: check the board, build an FP16 engine, time it, run every image, pack one result file.
# It needs JetPack 6 (TensorRT 10 or newer with trtexec) and nothing else. Where Python's tensorrt module is there, as in
# JetPack, one process runs all images. It may be interrupted and started again.
#
# sh run.sh [--check] [--any-mode] [--restart] [--retime] [--iterations N] [--warmup MS]
#   --check         only check the board
#   --any-mode      continue in another power mode than MAXN_SUPER, or with unlocked clocks
#   --restart       delete results and start over
#   --retime        time the engine again, for instance in another power mode
#   --iterations N  timed runs (300)
#   --warmup MS     before them (2000)
set -u
cd "$(dirname "$0")" || exit 1
# shellcheck source=common.sh
. ./common.sh
# shellcheck disable=SC1091
. ./kit.env
suffix=json

# trtexec prints [TensorRT v100300] for 10.3.0, newer versions also [TensorRT v11.1.0.106].
find_version() {
    "$trtexec" --help >"$result/trtexec-help.txt" 2>&1 </dev/null
    code=$?
    [ $code -lt 126 ] || fail "$trtexec does not start: $(first_line "$result/trtexec-help.txt"); $(meaning $code)"
    version=$(sed -n 's/.*\[TensorRT v\([0-9.]*\)\].*/\1/p' "$result/trtexec-help.txt" | head -n 1)
    case $version in
        *.*) ;;
        ????) version=$((version / 1000)).$((version / 100 % 10)).$((version % 100)) ;;
        ?????*) version=$((version / 10000)).$((version / 100 % 100)).$((version % 100)) ;;
        *) fail "$trtexec prints no TensorRT version: $(first_line "$result/trtexec-help.txt")" ;;
    esac
    major=${version%%.*}
    [ "$major" -ge 10 ] || fail "TensorRT $version: 10 or newer is needed; JetPack 6.2 has 10.3"
    # Up to 10.x TensorRT rounds the FP32 graph itself; from 11 on it computes in the types of the graph.
    model=models/model-fp32.onnx
    [ "$major" -lt 11 ] && [ -f "$model" ] || model=models/model-$PRECISION.onnx
    # 11.x leaves transfers out by default; without them an image might never reach the GPU.
    if grep -q -e '--includeDataTransfers' "$result/trtexec-help.txt"; then transfers=--includeDataTransfers; else transfers=; fi
}

power_mode() { nvpmodel -q 2>/dev/null | sed -n 's/^NV Power Mode: *//p' | head -n 1; }

# Only root may read the clocks; where sudo would ask for a password they stay unknown.
clocks() {
    { jetson_clocks --show || sudo -n jetson_clocks --show; } 2>/dev/null | grep -i -e '^ *gpu' -e '^ *emc' | tr -s ' ' | tr '\n' ';'
}

# frequency WORD: MinFreq or MaxFreq of the GPU, in MHz.
frequency() {
    printf '%s' "$shown" | tr ';' '\n' | sed -n "s/^ *GPU.*$1=\([0-9]*\)[0-9]\{6\}.*/\1/p" | head -n 1
}

check_board() {
    release=$(head -n 1 "$root/etc/nv_tegra_release" 2>/dev/null)
    [ -n "$release" ] || fail "no /etc/nv_tegra_release: this is not a Jetson, or a container; run it on the board itself"
    l4t=$(printf '%s' "$release" | sed 's/^# R\([0-9]*\) (release), REVISION: \([0-9.]*\).*/\1.\2/')
    case $l4t in
        36.*) ;;
        *) warn "L4T $l4t: this kit is written for 36.4 (JetPack 6.2)" ;;
    esac
    device=$(tr -d '\000' <"$root/proc/device-tree/model" 2>/dev/null)
    case $device in
        *"Orin Nano"*) ;;
        *) warn "this is ${device:-an unknown board}: the paper's is a Jetson Orin Nano Super" ;;
    esac
    trtexec=$(command -v trtexec) || trtexec=$root/usr/src/tensorrt/bin/trtexec
    [ -x "$trtexec" ] ||
        fail "trtexec is neither on PATH nor in /usr/src/tensorrt/bin; it comes with JetPack: sudo apt install tensorrt"
    find_version
    mode=$(power_mode)
    shown=$(clocks)
    runner=$(python3 trt_runner.py --version 2>"$result/python.txt" </dev/null) ||
        say "one process for all images is not possible here ($(sed -n '$p' "$result/python.txt")): trtexec is started for each"
    cuda=$(sed -n '/"cuda" *:/,/}/s/.*"version" *: *"\([0-9.]*\)".*/\1/p' "$root/usr/local/cuda/version.json" 2>/dev/null)
    note "$facts" device "$device" l4t "$l4t" l4t_release "$release" tool trtexec tool_version "$version" cuda "$cuda" \
        model "$model" model_sha256 "$(sum "$model")" power_mode "$mode" clocks "$shown" runner "${runner:-trtexec}"
    say "$device, L4T $l4t, TensorRT $version, power mode ${mode:-unknown}"
    id=$(sed -n 's/.*ID=\([0-9]*\) .*NAME=MAXN_SUPER[ >].*/\1/p' "$root/etc/nvpmodel.conf" 2>/dev/null | head -n 1)
    remedy="sudo nvpmodel -m $id"
    [ -n "$id" ] || remedy="/etc/nvpmodel.conf has none, boot the -super configuration of JetPack 6.2"
    [ "$mode" = MAXN_SUPER ] || slow "power mode is ${mode:-unknown}, not MAXN_SUPER: $remedy"
    if [ -z "$shown" ]; then
        warn "the clocks cannot be read without sudo: start this as 'sudo sh run.sh' to record them"
    else
        low=$(frequency MinFreq)
        [ "${low:-0}" = "$(frequency MaxFreq)" ] || slow "the GPU's clocks are not locked: sudo jetson_clocks"
        [ "${low:-1020}" -ge 1020 ] || slow "the GPU runs at $low MHz, the paper's at 1020: reboot in MAXN_SUPER"
    fi
}

build() {
    [ ! -s "$result/engine.plan" ] || return 0
    # An engine built again may choose other kernels: outputs of two engines are not one result.
    [ ! -s "$result/outputs.tsv" ] || fail "$result/engine.plan is missing; run.sh --restart starts over"
    say "building the engine; some minutes"
    set -- --skipInference
    [ "$major" -ge 11 ] || set -- "$@" --fp16
    [ "$major" -ge 11 ] || [ "$PRECISION" = fp16 ] || set -- "$@" --int8
    logged build build.log "$trtexec" --onnx="$model" --saveEngine="$result/engine.new" "$@" --timingCacheFile="$result/timing.cache"
    [ -s "$result/engine.new" ] || fail "no engine was built; see $result/logs/build.log"
    grep '\[W\]' "$result/logs/build.log" | sed 's/.*\[W\] *\(\[TRT\] \)*//' | head -n 10 >"$result/warnings.txt"
    while read -r line <&5; do warn "TensorRT: $line"; done 5<"$result/warnings.txt"
    mv "$result/engine.new" "$result/engine.plan" || full "$result/engine.plan"
}

time_model() {
    say "timing: ${iterations:-300} runs after ${warmup:-2000} ms of warm-up"
    expand_first
    time_note "${iterations:-300}" "${warmup:-2000} ms"
    if command -v tegrastats >/dev/null; then
        tegrastats --interval 500 >"$result/time.new/tegrastats.txt" 2>/dev/null &
        watcher=$!
    fi
    # shellcheck disable=SC2086
    logged time time.log "$trtexec" --loadEngine="$result/engine.plan" --loadInputs="image:$result/image.raw" \
        --iterations="${iterations:-300}" --warmUp="${warmup:-2000}" --duration=0 \
        --exportTimes="$result/time.new/times.json" --exportProfile="$result/time.new/profile.json" \
        --separateProfileRun $transfers
    [ -s "$result/time.new/times.json" ] || fail "no times were written; see $result/logs/time.log"
    [ -z "$watcher" ] || kill "$watcher" 2>/dev/null
    watcher=
    rate=$(sed -n 's/.*Throughput: \([0-9.e+]*\) qps.*/\1/p' "$result/logs/time.log")
    note "$result/time.new/time.tsv" after "$(clocks)" throughput "$rate"
    mv "$result/time.new" "$result/time" || full "$result/time"
}

# infer FILE SHA256 OUTPUT: one image by trtexec.
infer() {
    expand "$1" "$2" "$result/image.raw"
    rm -f "$result/output.json"
    # shellcheck disable=SC2086
    logged run run.log "$trtexec" --loadEngine="$result/engine.plan" --loadInputs="image:$result/image.raw" \
        --iterations=1 --warmUp=0 --duration=0 --exportOutput="$result/output.json" $transfers
    mv "$result/output.json" "$3" || fail "image $number gave no output, or the disk is full; see $log"
}

# One process for all images, after a few by trtexec that it must repeat.
run_python() {
    mkdir -p "$result/sentinels"
    while IFS=$tab read -r number _ file sha _ <&4; do
        [ -s "$result/sentinels/$number.json" ] || infer "$file" "$sha" "$result/sentinels/$number.json"
        [ "$number" != 000002 ] || break
    done 4<images.tsv
    screen=yes
    tried runner runner.log python3 trt_runner.py "$result/engine.plan" images.tsv "$result" && return 0
    warn "trt_runner.py: $(meaning $?), $(sed -n '$p' "$log"): trtexec runs the images instead"
    screen=no
    check_outputs
    return 1
}

run_images() {
    [ -z "$runner" ] || ! run_python || return 0
    say "$IMAGES images; the engine is loaded for each, which takes 2 to 3 s per image (an estimate)"
    while IFS=$tab read -r number target file sha _ <&4; do
        ! grep -q "^$number${tab}" "$result/outputs.tsv" || continue
        infer "$file" "$sha" "$result/one.json"
        keep "$result/one.json" "$number" "$target" "$sha"
        case $session_done in
            1 | *0) progress ;;
        esac
    done 4<images.tsv
}

needed_kib() { printf '%s\n' $((KIB_MODEL * 4 + KIB_IMAGE * 2 + KIB_OUTPUT * IMAGES)); }

main "$@"
