#!/bin/sh
# Run the kit on a Jetson: check the board, build an FP16 engine, time it, run every image, pack one result file.
# It needs JetPack 6 (TensorRT 10 or newer with trtexec) and nothing else. It may be interrupted and started again.
set -u
cd "$(dirname "$0")" || exit 1
# shellcheck source=common.sh
. ./common.sh
# shellcheck disable=SC1091
. ./kit.env
suffix=json

usage() {
    cat <<END
sh run.sh [--check] [--any-mode] [--restart] [--retime] [--iterations N] [--warmup MS]
  --check         only check the board
  --any-mode      continue in another power mode than MAXN_SUPER, or with unlocked clocks
  --restart       delete results and start over
  --retime        time the engine again, for instance in another power mode
  --iterations N  timed runs (300)
  --warmup MS     before them (2000)
END
}

find_trtexec() {
    for trtexec in "$(command -v trtexec)" "$root/usr/src/tensorrt/bin/trtexec"; do
        [ -n "$trtexec" ] && [ -x "$trtexec" ] && return 0
    done
    fail "trtexec is neither on PATH nor in /usr/src/tensorrt/bin; it comes with JetPack: sudo apt install tensorrt"
}

# trtexec prints [TensorRT v100300] for 10.3.0, newer versions also [TensorRT v11.1.0.106].
find_version() {
    "$trtexec" --help >"$result/trtexec-help.txt" 2>&1 </dev/null
    version=$(sed -n 's/.*\[TensorRT v\([0-9.]*\)\].*/\1/p' "$result/trtexec-help.txt" | head -n 1)
    case $version in
        *.*) ;;
        ????) version=$((version / 1000)).$((version / 100 % 10)).$((version % 100)) ;;
        ?????*) version=$((version / 10000)).$((version / 100 % 100)).$((version % 100)) ;;
        *)
            # A package's version is 10.3.0.30-1+cuda12.5.
            # shellcheck disable=SC2016
            version=$(dpkg-query -W -f '${Version}\n' 'libnvinfer[0-9]*' 2>/dev/null | head -n 1 | sed 's/-.*//')
            ;;
    esac
    major=${version%%.*}
    case $major in
        '' | *[!0-9]*) fail "$trtexec prints no TensorRT version, nor does dpkg; TensorRT 10 or newer is needed" ;;
    esac
    [ "$major" -ge 10 ] || fail "TensorRT $version: 10 or newer is needed; JetPack 6.2 has 10.3"
    # Up to 10.x TensorRT rounds the FP32 graph itself; from 11 on it computes in the types of the graph.
    if [ "$major" -ge 11 ]; then model=models/model-fp16.onnx; else model=models/model-fp32.onnx; fi
    # 11.x leaves transfers out by default; without them an image might never reach the GPU.
    if grep -q -e '--includeDataTransfers' "$result/trtexec-help.txt"; then transfers=--includeDataTransfers; else transfers=; fi
}

power_mode() { nvpmodel -q 2>/dev/null | sed -n 's/^NV Power Mode: *//p' | head -n 1; }

# Only root may read the clocks; where sudo would ask for a password they stay unknown.
clocks() {
    { jetson_clocks --show || sudo -n jetson_clocks --show; } 2>/dev/null | grep -i -e '^gpu' -e '^emc' | tr -s ' ' | tr '\n' ';'
}

condition_line() { printf '%s; %s' "$(power_mode)" "$(clocks)"; }

# Locked: lowest and highest frequency of every line are equal.
locked() {
    printf '%s' "$1" | tr ';' '\n' | grep -i '^gpu.*MinFreq=' >"$result/gpu.txt" || return 1
    while read -r line <&3; do
        low=${line##*MinFreq=}
        high=${line##*MaxFreq=}
        [ "${low%% *}" = "${high%% *}" ] || return 1
    done 3<"$result/gpu.txt"
}

slow() {
    [ "$any_mode" = yes ] || fail "$1, or use --any-mode (the record will say so)"
    warn "$1"
}

check_board() {
    release=$(head -n 1 "$root/etc/nv_tegra_release" 2>/dev/null)
    [ -n "$release" ] || fail "no /etc/nv_tegra_release: this is not a Jetson"
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
    find_trtexec
    find_version
    mode=$(power_mode)
    shown=$(clocks)
    note "$facts" device "${device:-unknown}"
    note "$facts" l4t "$l4t"
    note "$facts" l4t_release "$release"
    note "$facts" tool trtexec
    note "$facts" tool_version "$version"
    note "$facts" cuda "$(sed -n '/"cuda" *:/,/}/s/.*"version" *: *"\([0-9.]*\)".*/\1/p' "$root/usr/local/cuda/version.json" 2>/dev/null)"
    note "$facts" model "$model"
    note "$facts" model_sha256 "$(sum "$model")"
    note "$facts" power_mode "${mode:-unknown}"
    note "$facts" clocks "${shown:-unknown}"
    say "$device, L4T $l4t, TensorRT $version, power mode ${mode:-unknown}"
    [ "$mode" = MAXN_SUPER ] || slow "power mode is ${mode:-unknown}, not MAXN_SUPER: sudo nvpmodel -m 2"
    if [ -z "$shown" ]; then
        warn "the clocks cannot be read without sudo: start this as 'sudo sh run.sh' to record them"
    else
        locked "$shown" || slow "the GPU's clocks are not locked: sudo jetson_clocks"
    fi
}

build() {
    if [ -s "$result/engine.plan" ] && [ -s "$result/engine.tsv" ]; then
        [ "$(sum "$result/engine.plan")" = "$(noted "$result/engine.tsv" engine_sha256)" ] ||
            fail "$result/engine.plan is not the engine that this result was begun with; run.sh --restart starts over"
        return 0
    fi
    # An engine built again may choose other kernels: outputs of two engines are not one result.
    [ ! -s "$result/outputs.tsv" ] || fail "$result/engine.plan is missing; run.sh --restart starts over"
    say "building the engine; some minutes"
    set -- --skipInference
    [ "$major" -ge 11 ] || set -- "$@" --fp16
    logged build build.log "$trtexec" --onnx="$model" --saveEngine="$result/engine.new" "$@" --timingCacheFile="$result/timing.cache"
    [ -s "$result/engine.new" ] || fail "no engine was built; see $result/logs/build.log"
    mv "$result/engine.new" "$result/engine.plan"
    rm -f "$result/engine.tsv"
    note "$result/engine.tsv" engine_sha256 "$(sum "$result/engine.plan")"
}

time_model() {
    say "timing: ${iterations:-300} runs after ${warmup:-2000} ms of warm-up"
    expand_first
    rm -rf "$result/time.new"
    mkdir "$result/time.new"
    time_note "$result/time.new/time.tsv" "${iterations:-300}" "${warmup:-2000} ms"
    # shellcheck disable=SC2086
    logged time time.log "$trtexec" --loadEngine="$result/engine.plan" --loadInputs="image:$result/image.raw" \
        --iterations="${iterations:-300}" --warmUp="${warmup:-2000}" --duration=0 \
        --exportTimes="$result/time.new/times.json" --exportProfile="$result/time.new/profile.json" \
        --separateProfileRun $transfers
    [ -s "$result/time.new/times.json" ] || fail "no times were written; see $result/logs/time.log"
    note "$result/time.new/time.tsv" after "$(condition_line)"
    mv "$result/time.new" "$result/time"
}

run_images() {
    say "$IMAGES images; the engine is loaded for each, which takes 2 to 3 s per image (an estimate)"
    while IFS=$tab read -r number target file sha _ <&4; do
        ! has_output "$number" || continue
        expand "$file" "$sha" "$result/image.raw"
        rm -f "$result/output.json"
        # shellcheck disable=SC2086
        logged run run.log "$trtexec" --loadEngine="$result/engine.plan" --loadInputs="image:$result/image.raw" \
            --iterations=1 --warmUp=0 --duration=0 --exportOutput="$result/output.json" $transfers
        [ -s "$result/output.json" ] || fail "image $number gave no output; see $result/logs/run.log"
        keep "$result/output.json" "$number" "$target" "$sha"
        case $session_done in
            1 | *0) progress ;;
        esac
    done 4<images.tsv
}

needed_kib() { printf '%s\n' $((KIB_MODEL * 4 + KIB_IMAGE * 2 + KIB_OUTPUT * IMAGES)); }

main "$@"
