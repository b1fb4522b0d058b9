#!/usr/bin/env bash
# The whole chain on this machine, from scenes to replayed proof. Every line that starts with $ is a command you can type.
set -euo pipefail
OUT="${DEMO_DIR:-demo}"
DATA="${UNDERSTUDY_DATA:-../shared/data}"
SEEDS="${DEMO_SEEDS:-0,1,2,3,4}"
STARTED=$SECONDS
say() { printf '\n\033[1m%s\033[0m  [%ds]\n' "$1" $((SECONDS - STARTED)); }
run() { printf '$ %s\n' "$*"; "$@"; }
replay() { run understudy replay "$OUT/bags/$1" "$OUT/bundle" --out "$OUT/replayed/$1"; }

if [ -e "$OUT" ] && [ ! -e "$OUT/.demo" ]; then
  echo "error: $OUT exists and was not made by this demo; set DEMO_DIR to another folder" >&2
  exit 2
fi
rm -rf "$OUT" && mkdir -p "$OUT" && touch "$OUT/.demo"
SCENES="$OUT/scenes" RUNS="$OUT/runs" STUDENT="$OUT/runs/student-seed${SEEDS%%,*}"

say "1/8  Scenes: many short drives to learn from, and one longer drive with a camera to replay"
run understudy scenes "$SCENES" --drives 288 --frames 2 --val-drives 48 --range-m 45 --no-camera --seed 7
run understudy scenes "$OUT/drive" --drives 2 --frames 40 --val-drives 1 --seed 8

say "2/8  Teacher, students, controls"
run understudy train demo-teacher --data "$SCENES" --out "$RUNS/teacher"
run understudy distill demo-student --teacher "$RUNS/teacher" --data "$SCENES" --out "$RUNS" --seeds "$SEEDS" --jobs 2

say "3/8  One ONNX from raw points to boxes, quantized, packed, compiled"
run understudy export "$STUDENT" --out "$OUT/export"
run understudy quantize "$OUT/export" --data "$SCENES" --frames 32
run understudy pack "$OUT/export" --out "$OUT/bundle" --ledger "$RUNS/ledger.json"
if python -c 'import tensorrt_rtx' 2>/dev/null; then
  run understudy compile "$OUT/bundle" --target all
else
  run understudy compile "$OUT/bundle" --target cpu
fi
run understudy inspect "$OUT/bundle"

say "4/8  Parity: torch, ONNX FP32, ONNX INT8 and its CPU twin, box against box"
PARITY=0
run understudy compare "$OUT/bundle" --data "$SCENES" --reference "$STUDENT" --json "$OUT/parity.json" || PARITY=$?
[ "$PARITY" -le 1 ] || exit "$PARITY"

say "5/8  A drive as a rosbag, replayed through the bundle"
run understudy record "$OUT/drive" "$OUT/bags/scenes" --split val
replay scenes
REPLAYS=(--replay "$OUT/replayed/scenes")
if [ -d "$DATA/kitti/raw" ] && [ -d "$DATA/pandaset/002" ]; then
  run understudy record "$DATA/kitti/raw/2011_09_26" "$OUT/bags/kitti"
  run understudy record "$DATA/pandaset/002" "$OUT/bags/pandaset"
  run understudy record "$DATA/pandaset/002" "$OUT/bags/pandaset-shuffled" --layout shuffled
  for bag in kitti pandaset pandaset-shuffled; do
    replay "$bag"
    REPLAYS+=(--replay "$OUT/replayed/$bag")
  done
else
  echo "no real recordings at $DATA: set UNDERSTUDY_DATA to replay KITTI and PandaSet as well"
fi

say "6/8  A recording as a data set: the bag's key frames, labeled by the teacher, checked, counted, drawn"
run understudy dataset from-bag "$OUT/bags/scenes" --teacher "$RUNS/teacher" --out "$OUT/recorded"
run understudy dataset check "$OUT/recorded"
run understudy dataset stats "$OUT/recorded" --out "$OUT/statistics"
run understudy dataset show "$OUT/recorded" --frames 2 --range 30 --out "$OUT/pictures"

say "7/8  Latency, points to boxes: the teacher in FP32, the student in FP32 and in INT8"
run understudy export "$RUNS/teacher" --out "$OUT/teacher-export"
run understudy pack "$OUT/teacher-export" --out "$OUT/teacher-bundle"
run understudy latency "$OUT/teacher-bundle" --data "$SCENES" --frames 50 --json "$OUT/latency-teacher.json"
run understudy latency "$OUT/bundle" --data "$SCENES" --precision fp32 --json "$OUT/latency-fp32.json"
run understudy latency "$OUT/bundle" --data "$SCENES" --json "$OUT/latency.json"

say "8/8  The ledger and the report"
run understudy evaluate "$OUT/bundle" --data "$SCENES" --precision uint8 --out "$OUT/uint8.json"
run understudy evaluate "$OUT/bundle" --data "$SCENES" --precision int8 --out "$OUT/int8.json"
ROW="student, seed ${SEEDS%%,*}"
run understudy ledger add "$RUNS/ledger.json" --bundle "$OUT/bundle" \
  --quantized "uint8=$OUT/uint8.json" --quantized "int8=$OUT/int8.json" \
  --latency "teacher=$OUT/latency-teacher.json" --latency "$ROW=$OUT/latency-fp32.json" \
  --latency "$ROW uint8=$OUT/latency.json"
run understudy report --ledger "$RUNS/ledger.json" --data "$SCENES" \
  --network "teacher=$RUNS/teacher" --network "student INT8=$OUT/bundle" \
  --evaluation "teacher=$RUNS/teacher-evaluation.json" --evaluation "control=$RUNS/control-seed${SEEDS%%,*}/evaluation.json" \
  --evaluation "student=$STUDENT/evaluation.json" --evaluation "student INT8=$OUT/uint8.json" \
  --parity "$OUT/parity.json" --latency "$OUT/latency.json" --latency "$OUT/latency-fp32.json" \
  --latency "$OUT/latency-teacher.json" "${REPLAYS[@]}" --out "$OUT/report.html"
say "done: open $OUT/report.html"
if [ "$PARITY" -ne 0 ]; then
  echo "a rung of the parity ladder departed: see step 4 or the report" >&2
  exit 1
fi
