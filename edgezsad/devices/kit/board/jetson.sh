#!/bin/sh
# Runs the kit on a Jetson: checks the board, builds an FP16 engine, times it, runs every image, packs one result file.
# It needs JetPack 6 (TensorRT 10 or newer with its trtexec) and nothing else. Interrupt it as you like and start it
# again: it goes on where it was.
set -u
cd "$(dirname "$0")" || exit 1
# shellcheck source=common.sh
. ./common.sh
# shellcheck disable=SC1091
. ./kit.env

usage() {
    cat <<END
sh run.sh [--check] [--any-mode] [--restart] [--retime] [--iterations N] [--warmup MS]
  --check         only look at the board
  --any-mode      go on in another power mode than MAXN_SUPER, or with clocks that are not locked
  --restart       forget what was begun
  --retime        time the engine again, for instance in another power mode
  --iterations N  timed runs (300)
  --warmup MS     before them (2000)
END
}

find_trtexec() {
    for trtexec in "$(command -v trtexec)" "$root/usr/src/tensorrt/bin/trtexec"; do
        [ -n "$trtexec" ] && [ -x "$trtexec" ] && return 0
    done
    refuse "trtexec is neither on PATH nor in /usr/src/tensorrt/bin; it comes with JetPack: sudo apt install tensorrt"
}

# trtexec says [TensorRT v100300] for 10.3.0, newer ones also [TensorRT v11.1.0.106].
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
        '' | *[!0-9]*) refuse "$trtexec does not say which TensorRT it is, nor does dpkg; TensorRT 10 or newer is needed" ;;
    esac
    [ "$major" -ge 10 ] || refuse "TensorRT $version: 10 or newer is needed; JetPack 6.2 has 10.3"
    # Up to 10.x TensorRT rounds the FP32 graph; from 11 on it computes in the types of the graph that it is given.
    if [ "$major" -ge 11 ]; then model=models/model-fp16.onnx; else model=models/model-fp32.onnx; fi
    # 11.x leaves transfers out of a run unless it is told; without them an image might never reach the GPU.
    if grep -q -e '--includeDataTransfers' "$result/trtexec-help.txt"; then transfers=--includeDataTransfers; else transfers=; fi
}

power_mode() { nvpmodel -q 2>/dev/null | sed -n 's/^NV Power Mode: *//p' | head -n 1; }

# Only root may read them; where sudo would ask for a password they stay unknown.
clocks() {
    { jetson_clocks --show || sudo -n jetson_clocks --show; } 2>/dev/null | grep -i -e '^gpu' -e '^emc' | tr -s ' ' | tr '\n' ';'
}

condition_line() { printf '%s; %s' "$(power_mode)" "$(clocks)"; }

# Locked: the lowest and the highest frequency of every line are the same.
locked() {
    printf '%s' "$1" | tr ';' '\n' | grep -i '^gpu.*MinFreq=' >"$result/gpu.txt" || return 1
    while read -r line <&3; do
        low=${line##*MinFreq=}
        high=${line##*MaxFreq=}
        [ "${low%% *}" = "${high%% *}" ] || return 1
    done 3<"$result/gpu.txt"
}

slow() {
    [ "$any_mode" = yes ] || refuse "$1, or use --any-mode (the record will say so)"
    warn "$1"
}

check_board() {
    release=$(head -n 1 "$root/etc/nv_tegra_release" 2>/dev/null)
    [ -n "$release" ] || refuse "no /etc/nv_tegra_release: this is not a Jetson"
    l4t=$(printf '%s' "$release" | sed 's/^# R\([0-9]*\) (release), REVISION: \([0-9.]*\).*/\1.\2/')
    case $l4t in
        36.*) ;;
        *) warn "L4T $l4t: the paper's experiment is known to go with 36.4 (JetPack 6.2)" ;;
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
        warn "the clocks can not be read without sudo: start this as 'sudo sh run.sh' to have them in the record"
    else
        locked "$shown" || slow "the GPU's clocks are not locked: sudo jetson_clocks"
    fi
}

build() {
    if [ -s "$result/engine.plan" ] && [ -s "$result/engine.tsv" ]; then
        [ "$(sum "$result/engine.plan")" = "$(noted "$result/engine.tsv" engine_sha256)" ] ||
            refuse "$result/engine.plan is not the engine that this result was begun with; run.sh --restart begins anew"
        return 0
    fi
    # An engine built again may choose other kernels: outputs of two engines are not one result.
    [ ! -s "$result/outputs.tsv" ] || refuse "$result/engine.plan is gone; run.sh --restart begins anew"
    say "building the engine; some minutes"
    set -- --skipInference
    [ "$major" -ge 11 ] || set -- "$@" --fp16
    logged build build.log "$trtexec" --onnx="$model" --saveEngine="$result/engine.new" "$@" --timingCacheFile="$result/timing.cache"
    [ -s "$result/engine.new" ] || refuse "no engine was built; look at $result/logs/build.log"
    mv "$result/engine.new" "$result/engine.plan"
    note "$result/engine.tsv.new" engine_sha256 "$(sum "$result/engine.plan")"
    mv "$result/engine.tsv.new" "$result/engine.tsv"
}

time_engine() {
    [ ! -s "$result/time.tsv" ] || return 0
    say "timing: ${iterations:-300} runs after ${warmup:-2000} ms of warm-up"
    IFS=$tab read -r _ _ file sha _ <images.tsv
    expand "$file" "$sha" "$result/image.raw"
    rm -f "$result/time.tsv.new" "$result/times.json" "$result/profile.json"
    time_note "$result/time.tsv.new" "${iterations:-300}" "${warmup:-2000} ms"
    # shellcheck disable=SC2086
    logged time time.log "$trtexec" --loadEngine="$result/engine.plan" --loadInputs="image:$result/image.raw" \
        --iterations="${iterations:-300}" --warmUp="${warmup:-2000}" --duration=0 \
        --exportTimes="$result/times.json" --exportProfile="$result/profile.json" --separateProfileRun $transfers
    [ -s "$result/times.json" ] || refuse "no times were written; look at $result/logs/time.log"
    note "$result/time.tsv.new" after "$(condition_line)"
    mv "$result/time.tsv.new" "$result/time.tsv"
}

run_images() {
    touch "$result/outputs.tsv"
    # A row that was cut off by a loss of power has no line end; it and what it speaks of are made again.
    sed -n "/^[0-9]*${tab}[0-9a-f]\{64\}${tab}[0-9a-f]\{64\}\$/p" "$result/outputs.tsv" >"$result/outputs.new"
    mv "$result/outputs.new" "$result/outputs.tsv"
    count=0
    start_progress
    say "$IMAGES images; the engine is loaded for each, so count on 2 to 3 s an image (an estimate)"
    while IFS=$tab read -r number target file sha _ <&4; do
        count=$((count + 1))
        output=$result/outputs/$target/$number.json
        known=$(sed -n "s/^${number}${tab}${sha}${tab}//p" "$result/outputs.tsv")
        if [ -n "$known" ] && [ -f "$output" ] && [ "$(sum "$output")" = "$known" ]; then
            continue
        fi
        sed "/^${number}${tab}/d" "$result/outputs.tsv" >"$result/outputs.new" && mv "$result/outputs.new" "$result/outputs.tsv"
        expand "$file" "$sha" "$result/image.raw"
        rm -f "$result/output.json"
        # shellcheck disable=SC2086
        logged run run.log "$trtexec" --loadEngine="$result/engine.plan" --loadInputs="image:$result/image.raw" \
            --iterations=1 --warmUp=0 --duration=0 --exportOutput="$result/output.json" $transfers
        [ -s "$result/output.json" ] || refuse "image $number gave no output; look at $result/logs/run.log"
        mkdir -p "$result/outputs/$target"
        mv "$result/output.json" "$output"
        printf '%s\t%s\t%s\n' "$number" "$sha" "$(sum "$output")" >>"$result/outputs.tsv"
        session_done=$((session_done + 1))
        case $session_done in
            1 | *0) progress "$count" ;;
        esac
    done 4<images.tsv
    say "$count of $IMAGES images"
}

needed_kib() { printf '%s\n' $((KIB_MODEL * 4 + KIB_IMAGE * 2 + KIB_OUTPUT * IMAGES)); }

work() {
    build
    time_engine
    run_images
    pack engine.tsv time.tsv times.json profile.json outputs.tsv outputs
}

carry_out "$@"
