//===-- Names.swift - the calls with paths -------------------------------------------------------===//
// Whatever is named by a path: directories, links, device files; and what all calls with a path share.

import BGDiskFormat
import BlockGroups
public import CBlockGroups

/// The bytes of a string, without its final 0.
func bytes(_ string: UnsafePointer<CChar>) -> [UInt8] {
    var bytes: [UInt8] = []
    var index = 0
    while unsafe string[index] != 0 {
        unsafe bytes.append(UInt8(bitPattern: string[index]))
        index += 1
    }
    return bytes
}

/// Calls `body` with the file system behind a handle and the path that a string is; refuses NULL.
func withPath(
    _ fs: OpaquePointer?,
    _ path: UnsafePointer<CChar>?,
    _ body: (Filesystem, FilePath) throws(FilesystemError) -> Void
) -> CInt {
    guard let fs = unsafe fs, let path = unsafe path else { return refuseNull() }
    return filesystemReturnCode { () throws(FilesystemError) in
        try unsafe body(filesystem(fs), FilePath(bytes: bytes(path)))
    }
}

/// The same for a call that makes a file with attributes.
func withPath(
    _ fs: OpaquePointer?,
    _ path: UnsafePointer<CChar>?,
    _ attributes: UnsafePointer<bg_attributes>?,
    _ body: (Filesystem, FilePath, FileAttributes) throws(FilesystemError) -> Void
) -> CInt {
    guard unsafe fs != nil && path != nil else { return refuseNull() }
    guard let wanted = unsafe FileAttributes(attributes) else {
        return refuseArgument(badAttributes)
    }
    return unsafe withPath(fs, path) { (filesystem, path) throws(FilesystemError) in
        try body(filesystem, path, wanted)
    }
}

/// The same for a call that copies bytes to its caller: as many as fit, and says how many there are.
func copyOut(
    _ fs: OpaquePointer?,
    _ path: UnsafePointer<CChar>?,
    _ start: UnsafeMutableRawPointer?,
    _ size: Int,
    _ length_out: UnsafeMutablePointer<Int>?,
    _ body: (Filesystem, FilePath) throws(FilesystemError) -> [UInt8]
) -> CInt {
    guard let out = unsafe length_out, let space = unsafe bytes(start, size) else {
        return refuseArgument("a pointer is NULL, or the size is absurd")
    }
    return unsafe withPath(fs, path) { (filesystem, path) throws(FilesystemError) in
        let found = try body(filesystem, path)
        if size > 0 { unsafe space.copyBytes(from: found.prefix(size)) }
        unsafe out.pointee = found.count
    }
}

@c @implementation
public func bg_mkdir(
    _ fs: OpaquePointer?,
    _ path: UnsafePointer<CChar>?,
    _ attributes: UnsafePointer<bg_attributes>?
) -> CInt {
    unsafe withPath(fs, path, attributes) {
        (filesystem, path, wanted) throws(FilesystemError) in
        try filesystem.makeDirectory(path, wanted)
    }
}

@c @implementation
public func bg_mknod(
    _ fs: OpaquePointer?,
    _ path: UnsafePointer<CChar>?,
    _ mode: UInt32,
    _ device: UInt64,
    _ attributes: UnsafePointer<bg_attributes>?
) -> CInt {
    guard unsafe fs != nil && path != nil else { return refuseNull() }
    let kinds: [FileKind] = [.characterDevice, .blockDevice, .fifo, .socket]
    guard let kind = kinds.first(where: { $0.modeBits == mode }) else {
        return refuseArgument("mode is none of S_IFCHR, S_IFBLK, S_IFIFO and S_IFSOCK")
    }
    return unsafe withPath(fs, path, attributes) {
        (filesystem, path, wanted) throws(FilesystemError) in
        try filesystem.makeSpecialFile(path, kind, device: device, wanted)
    }
}

@c @implementation
public func bg_symlink(
    _ fs: OpaquePointer?,
    _ target: UnsafePointer<CChar>?,
    _ path: UnsafePointer<CChar>?,
    _ attributes: UnsafePointer<bg_attributes>?
) -> CInt {
    guard let target = unsafe target else { return refuseNull() }
    return unsafe withPath(fs, path, attributes) {
        (filesystem, path, wanted) throws(FilesystemError) in
        try unsafe filesystem.makeSymbolicLink(path, to: bytes(target), wanted)
    }
}

@c @implementation
public func bg_readlink(
    _ fs: OpaquePointer?,
    _ path: UnsafePointer<CChar>?,
    _ target: UnsafeMutablePointer<CChar>?,
    _ size: Int,
    _ length_out: UnsafeMutablePointer<Int>?
) -> CInt {
    unsafe copyOut(fs, path, target, size, length_out) {
        (filesystem, path) throws(FilesystemError) in
        try filesystem.symbolicLinkTarget(of: path)
    }
}

@c @implementation
public func bg_link(
    _ fs: OpaquePointer?,
    _ existing: UnsafePointer<CChar>?,
    _ path: UnsafePointer<CChar>?
) -> CInt {
    guard let existing = unsafe existing else { return refuseNull() }
    return unsafe withPath(fs, path) { (filesystem, path) throws(FilesystemError) in
        try unsafe filesystem.makeHardLink(path, to: FilePath(bytes: bytes(existing)))
    }
}

@c @implementation
public func bg_rename(
    _ fs: OpaquePointer?,
    _ from: UnsafePointer<CChar>?,
    _ to: UnsafePointer<CChar>?
) -> CInt {
    guard let to = unsafe to else { return refuseNull() }
    return unsafe withPath(fs, from) { (filesystem, from) throws(FilesystemError) in
        try unsafe filesystem.rename(from, to: FilePath(bytes: bytes(to)))
    }
}

@c @implementation
public func bg_unlink(_ fs: OpaquePointer?, _ path: UnsafePointer<CChar>?) -> CInt {
    unsafe withPath(fs, path) { (filesystem, path) throws(FilesystemError) in
        try filesystem.removeFile(path)
    }
}

@c @implementation
public func bg_rmdir(_ fs: OpaquePointer?, _ path: UnsafePointer<CChar>?) -> CInt {
    unsafe withPath(fs, path) { (filesystem, path) throws(FilesystemError) in
        try filesystem.removeDirectory(path)
    }
}

@c @implementation
public func bg_readdir(
    _ fs: OpaquePointer?,
    _ path: UnsafePointer<CChar>?,
    _ visit: (@convention(c) (UnsafeMutableRawPointer?, UnsafePointer<bg_dirent>?) -> CInt)?,
    _ context: UnsafeMutableRawPointer?
) -> CInt {
    guard let visit = unsafe visit else { return refuseNull() }
    var stopped: CInt = 0
    let result = unsafe withPath(fs, path) { (filesystem, path) throws(FilesystemError) in
        try filesystem.list(path) { (entry) throws(FilesystemError) in
            stopped = unsafe withCString(entry.name) { string in
                var found = unsafe bg_dirent(
                    name: string,
                    name_length: entry.name.count,
                    inode: entry.inode,
                    mode: entry.kind.modeBits,
                    is_subvolume: entry.isSubvolume ? 1 : 0
                )
                return unsafe visit(context, &found)
            }
            return stopped == 0
        }
    }
    return result == 0 ? stopped : result
}

/// Calls `body` with the bytes and a 0 behind them.
func withCString(
    _ bytes: [UInt8],
    _ body: (UnsafePointer<CChar>) -> CInt
) -> CInt {
    var string: [CChar] = []
    string.reserveCapacity(bytes.count + 1)
    for byte in bytes { string.append(CChar(bitPattern: byte)) }
    string.append(0)
    return unsafe string.withUnsafeBufferPointer { buffer in
        guard let start = buffer.baseAddress else { return 0 }
        return unsafe body(start)
    }
}
