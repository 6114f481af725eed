#!/bin/sh
# Makes the SquashFS fixtures with mksquashfs. Run as root (device nodes, owners, trusted xattrs), with the tool's
# path in MKSQUASHFS when it is not in PATH, and setfattr and python3 at hand. The images are checked in, so this
# is needed only to change them. Each line of SHA256SUMS was made by mksquashfs 4.7.5 (Debian squashfs-tools 1:4.7.5-1).
#
# v3-le.sqfs and v3-be.sqfs are not made here, since no program writes version 3 any more: crates/squashfs/tests/v3 does,
# and unsquashfs reads them in crates/squashfs/tests/foreign.rs. Of vendors' LZMA variants there is no fixture.
#
# The tree is repeated in crates/squashfs/tests/reader.rs: change both.
set -eu
mksquashfs=${MKSQUASHFS:-mksquashfs}
out=$(cd "$(dirname "$0")" && pwd)
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
umask 022
chmod 755 "$tree"
cd "$tree"

mkdir bin empty big deep deep/a deep/a/b deep/a/b/c
printf 'hello\n' > hello
ln hello bin/hello-link
ln -s ../hello bin/sym
mknod -m 600 console c 5 1
mknod -m 660 mmc b 259 65537
mkfifo -m 622 pipe
python3 - <<'PYTHON'
import os, socket
socket.socket(socket.AF_UNIX).bind('sock')
os.chmod('sock', 0o755)
def write(name, data, size=None):
    with open(name, 'wb') as f:
        f.write(data)
        if size is not None: f.truncate(size)
write('text', b'flash images are written once and read for years\n' * 500)
write('sparse', b'start', 700000)
with open('sparse', 'r+b') as f:
    f.seek(300000); f.write(b'middle')
write('hole', b'', 1 << 20)
write('noise', bytes((i * i * 2654435761 >> 13) & 255 for i in range(9000)))
write('copy1', b'same bytes ' * 1500)
write('copy2', b'same bytes ' * 1500)
write('zero', b'')
for i in range(300):
    write('big/entry-%03d-with-a-long-name-so-that-it-takes-room' % i, b'%d' % i if i % 50 == 0 else b'')
write(b'new\nline', b'n')
write(b'bad\xff\xfeutf8', b'b')
write('n' * 255, b'l')
PYTHON
chmod 4755 hello
chmod 1777 empty
chmod 2755 bin
chown 1000:100 text
chown 70000:70001 copy1
python3 - <<'PYTHON'
import os
def x(path, name, value): os.setxattr(path, name, value, follow_symlinks=False)
x('hello', 'user.mime', b'text/plain')
x('text', 'user.mime', b'text/plain')
x('bin', 'trusted.t', b'\x00\xff\x01')
x('noise', 'security.capability', bytes.fromhex('0100000200040000000000000000000000000000'))
x('copy1', 'user.large', b'v' * 3000)
x('copy2', 'user.large', b'v' * 3000)
x('copy2', 'user.more', b'')
x('pipe', 'trusted.p', b'x')
x('console', 'trusted.c', b'')
x('bin/sym', 'trusted.l', b'link')
PYTHON
find . -exec touch -h -d @1700000000 {} +

make() {
    name=$1
    shift
    "$mksquashfs" "$tree" "$out/$name.sqfs" -noappend -quiet -no-progress -processors 1 -mkfs-time 1700000001 "$@"
}
make gzip -comp gzip -b 16K
make xz -comp xz -b 4K -always-use-fragments -Xbcj arm
make zstd -comp zstd -b 16K -no-fragments -Xcompression-level 19
make lz4 -comp lz4 -b 128K -Xhc
make lzo -comp lzo -b 16K -no-exports -no-tailends
make lzma -comp lzma -b 16K
make plain -comp gzip -b 4K -noI -noD -noF -noX -noId -no-duplicates -nopad
make noxattr -comp zstd -b 1M -no-xattrs -all-root

# Small ones for damage tests: every bit of them is turned.
rm -rf "$tree" && mkdir "$tree" && cd "$tree"
mkdir outer outer/loop
python3 - <<'PYTHON'
import os
with open('file', 'wb') as f: f.write(b'tail of a file ' * 300)
os.link('file', 'outer/link')
with open('holes', 'wb') as f: f.write(b'x'); f.truncate(9000)
os.symlink('file', 'outer/sym')
os.setxattr('file', 'user.a', b'value')
PYTHON
mknod c c 1 3
find . -exec touch -h -d @1700000000 {} +
make tiny-plain -comp gzip -b 4K -noI -noId -noX -nopad
make tiny-zstd -comp zstd -b 4K -nopad

# Seeds for fuzzing: the same with every compressor.
mkdir -p "$out/../../fuzz/seeds/squashfs_read"
for compressor in gzip xz zstd lz4 lzo lzma; do
    make "../../fuzz/seeds/squashfs_read/$compressor" -comp $compressor -b 4K -nopad
done
cp "$out/tiny-plain.sqfs" "$out/../../fuzz/seeds/squashfs_read/plain.sqfs"
cd "$out"
sha256sum ./*.sqfs > SHA256SUMS
