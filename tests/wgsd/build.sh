#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# build.sh FOLDER: build coredns and wgsd-client into FOLDER, and say in FOLDER/origin what they are.
# wgsd itself is taken if the module proxy has it, else the stand-in that lies beside this file.
set -eu
here=$(dirname "$(realpath "$0")")
folder=$(realpath "$1")
module=github.com/jwhited/wgsd
version=v0.3.6
export CGO_ENABLED=0 GOFLAGS=-buildvcs=false

cd "$folder"   # outside of any module
if timeout 30 go mod download "$module@$version" 2>download.log; then
    for program in coredns wgsd-client; do
        GOBIN=$folder go install -trimpath -ldflags='-s -w' "$module/cmd/$program@$version"
    done
    echo "$module $version" >origin
else
    cd "$here"
    go build -trimpath -ldflags='-s -w' -o "$folder/" ./cmd/...
    why=$(sed -n '1s/^go: [^ ]* //p' "$folder/download.log")
    echo "a stand-in for $module $version, which could not be had: $why" >"$folder/origin"
fi
