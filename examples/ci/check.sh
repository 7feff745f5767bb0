#!/bin/sh
# Fails a build when a model breaks its budgets, or became worse than its last runs on this kind of
# machine. Prints what it found; leaves the report and a plot of the history in a folder.
#
#   sh check.sh MODEL TARGETS HISTORY [OPTION...]
#
#   MODEL    an ONNX file or a reference model's name
#   TARGETS  the budgets (examples/targets.toml)
#   HISTORY  the history's file; made when it is missing
#   OPTION   goes to `ingot report`, such as --runs 400 or --data DIR
#
# Variables: OUTPUT, the folder (default ingot-report); SINCE, a commit or time before which runs are
# left out, to accept a change.
#
# Ends with 0 when all is well, with 1 when a budget is broken, something became worse or a command
# failed, and with 2 when it is called wrongly.
set -eu

if [ "$#" -lt 3 ]; then
    echo "usage: check.sh MODEL TARGETS HISTORY [OPTION...]" >&2
    exit 2
fi
model=$1 targets=$2 history=$3
shift 3
output=${OUTPUT:-ingot-report}
name=$(basename "$model" .onnx)

measure() {
    ingot report "$model" --targets "$targets" --db "$history" --output "$output" "$@"
}

compare() {
    ingot history check --db "$history" --model "$name" ${SINCE:+--since "$SINCE"} "$@"
}

budgets=0
measure "$@" || budgets=$?
if [ "$budgets" -gt 1 ]; then
    exit "$budgets"
fi

changes=0
compare || changes=$?
if [ "$changes" -eq 1 ]; then
    # A finding is measured twice more, and counts only when the three together show it again.
    echo "measuring again: did it only look like this once?"
    measure "$@" || [ "$?" -eq 1 ]
    measure "$@" || [ "$?" -eq 1 ]
    changes=0
    compare --runs 3 || changes=$?
fi

ingot history plot --db "$history" --model "$name" --output "$output/history.html"

if [ "$budgets" -ne 0 ]; then
    echo "the budgets of $name are not held: see $output/report.md" >&2
fi
if [ "$changes" -ne 0 ]; then
    echo "$name became worse: see $output/history.html" >&2
fi
if [ "$budgets" -ne 0 ] || [ "$changes" -ne 0 ]; then
    exit 1
fi
