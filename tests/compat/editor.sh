#!/bin/sh
# Stands for the person at kubectl's editor: the value `before` becomes `after`.
set -eu
sed -i 's/before/after/' "$1"
