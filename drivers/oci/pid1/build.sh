#!/bin/sh
# Builds the first process for both architectures into the folder $1 (default: this one) with $CC_AMD64 and $CC_ARM64.
set -e
cd "$(dirname "$0")"
out=${1:-.}
flags="-std=c11 -Os -static -nostdlib -ffreestanding -fno-stack-protector -fno-asynchronous-unwind-tables -fno-pic -no-pie
 -fno-tree-loop-distribute-patterns -Wall -Wextra -Werror -Wl,--build-id=none -Wl,-z,noexecstack -Wl,-z,norelro -s"
for arch in amd64 arm64; do
	case $arch in
	amd64) cc=${CC_AMD64:-x86_64-linux-gnu-gcc} ;;
	arm64) cc=${CC_ARM64:-aarch64-linux-gnu-gcc} ;;
	esac
	# shellcheck disable=SC2086
	$cc $flags -o "$out/init_$arch" src/init.c
done
sha256sum src/init.c "$out/init_amd64" "$out/init_arm64" | cut -d" " -f1 >"$out/init.sum"
