#!/usr/bin/env bash
# The whole chain on this machine, from scenes to replayed proof. Every line that starts with $ is a command you can type.
set -euo pipefail
OUT="${DEMO_DIR:-demo}"
DATA="${UNDERSTUDY_DATA:-../shared/data}"
SEEDS="${DEMO_SEEDS:-0,1,2}"
STARTED=$SECONDS
say() { printf '\n\033[1m%s\033[0m  [%ds]\n' "$1" $((SECONDS - STARTED)); }
run() { printf '$ %s\n' "$*"; "$@"; }

if [ -e "$OUT" ] && [ ! -e "$OUT/.demo" ]; then
  echo "error: $OUT exists and was not made by this demo; set DEMO_DIR to another folder" >&2
  exit 2
fi
rm -rf "$OUT" && mkdir -p "$OUT" && touch "$OUT/.demo"

say "1/7  Scenes: a seeded data set of driving scenes"
run understudy scenes "$OUT/scenes" --drives 24 --frames 16 --val-drives 4 --seed 7

say "2/7  Teacher, student, control"
run understudy train demo-teacher --data "$OUT/scenes" --out "$OUT/runs/teacher"
run understudy distill demo-student --teacher "$OUT/runs/teacher" --data "$OUT/scenes" --out "$OUT/runs" --seeds "$SEEDS"

say "3/7  One ONNX from raw points to boxes, quantized, packed, compiled"
run understudy export "$OUT/runs/student-seed0" --out "$OUT/export"
run understudy quantize "$OUT/export" --data "$OUT/scenes" --split train --frames 32
run understudy pack "$OUT/export" --out "$OUT/bundle"
run understudy compile "$OUT/bundle" --target cpu
if python -c 'import tensorrt_rtx' 2>/dev/null; then
  run understudy compile "$OUT/bundle" --target all --precision int8
fi
run understudy inspect "$OUT/bundle"

say "4/7  Parity: torch, ONNX FP32, ONNX INT8 and its CPU twin, box against box"
run understudy compare "$OUT/bundle" --data "$OUT/scenes" --split val --reference "$OUT/runs/student-seed0" --json "$OUT/parity.json"

say "5/7  A drive as a rosbag, replayed through the bundle"
run understudy record "$OUT/scenes" "$OUT/bags/scenes" --split val --drive 0
run understudy replay "$OUT/bags/scenes" "$OUT/bundle" --rig "$OUT/bags/scenes/rig.yaml" --out "$OUT/replayed/scenes"
if [ -d "$DATA/kitti/raw" ]; then
  for name in kitti/raw/2011_09_26 pandaset/002; do
    bag="$OUT/bags/$(dirname "$name" | tr / -)"
    run understudy record "$DATA/$name" "$bag"
    run understudy replay "$bag" "$OUT/bundle" --rig "$bag/rig.yaml" --out "$OUT/replayed/$(basename "$bag")"
  done
  run understudy record "$DATA/pandaset/002" "$OUT/bags/shuffled" --layout shuffled
  run understudy replay "$OUT/bags/shuffled" "$OUT/bundle" --rig "$OUT/bags/shuffled/rig.yaml" --out "$OUT/replayed/shuffled"
else
  echo "no real recordings at $DATA: set UNDERSTUDY_DATA to replay KITTI and PandaSet as well"
fi

say "6/7  Latency, stage by stage"
run understudy latency "$OUT/bundle" --data "$OUT/scenes" --frames 100 --json "$OUT/latency.json"

say "7/7  The ledger and the report"
run understudy evaluate "$OUT/bundle" --data "$OUT/scenes" --split val --out "$OUT/int8.json"
run understudy report "$OUT" --out "$OUT/report.html"
say "done: open $OUT/report.html"
