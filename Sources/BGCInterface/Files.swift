//===-- Files.swift - bg_file_* and the calls with paths ------------------------------------------===//
// A struct bg_file is a File, retained once by bg_file_open() or bg_file_create().

import BGAllocation
import BGDiskFormat
import BlockGroups
public import CBlockGroups

private func openFile(_ file: OpaquePointer) -> File {
    unsafe Unmanaged<File>.fromOpaque(UnsafeRawPointer(file)).takeUnretainedValue()
}

private func handle(_ file: File) -> OpaquePointer {
    unsafe OpaquePointer(Unmanaged.passRetained(file).toOpaque())
}

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

extension FileTime {
    init(_ time: bg_time) {
        self.init(seconds: time.seconds, nanoseconds: time.nanoseconds)
    }
}

extension bg_time {
    init(_ time: FileTime) {
        self.init(seconds: time.seconds, nanoseconds: time.nanoseconds, reserved: 0)
    }
}

extension FileAttributes {
    /// nil: the size is wrong, or reserved bytes or unknown bits are not 0.
    init?(_ attributes: UnsafePointer<bg_attributes>?) {
        self.init()
        guard let attributes = unsafe attributes else { return }
        // The size before the rest is read: a caller's struct may be a smaller one.
        guard unsafe Int(attributes.pointee.size) == MemoryLayout<bg_attributes>.size else {
            return nil
        }
        let given = unsafe attributes.pointee
        let known: UInt32 = 0x3f
        guard given.set & ~known == 0, given.reserved == 0 else { return nil }
        func has(_ bit: UInt32) -> Bool { given.set & bit != 0 }
        permissions = has(BG_SET_MODE) ? given.mode : nil
        owner = has(BG_SET_OWNER) ? given.owner : nil
        group = has(BG_SET_GROUP) ? given.group : nil
        accessTime = has(BG_SET_ACCESS_TIME) ? FileTime(given.access_time) : nil
        modificationTime =
            has(BG_SET_MODIFICATION_TIME) ? FileTime(given.modification_time) : nil
        creationTime = has(BG_SET_CREATION_TIME) ? FileTime(given.creation_time) : nil
    }
}

extension bg_stat {
    init(_ metadata: FileMetadata) {
        self.init(
            inode: metadata.inode,
            size: metadata.size,
            allocated_bytes: metadata.allocatedBytes,
            device: metadata.device,
            mode: metadata.kind.modeBits | metadata.permissions,
            owner: metadata.owner,
            group: metadata.group,
            link_count: metadata.linkCount,
            access_time: bg_time(metadata.accessTime),
            change_time: bg_time(metadata.changeTime),
            modification_time: bg_time(metadata.modificationTime),
            creation_time: bg_time(metadata.creationTime)
        )
    }
}

private let badAttributes: StaticString =
    "bg_attributes::size is wrong, or unknown bits or reserved bytes are not 0"

// MARK: files

@c @implementation
public func bg_file_create(
    _ fs: OpaquePointer?,
    _ path: UnsafePointer<CChar>?,
    _ attributes: UnsafePointer<bg_attributes>?,
    _ file_out: UnsafeMutablePointer<OpaquePointer?>?
) -> CInt {
    guard let fs = unsafe fs, let name = unsafe path, let out = unsafe file_out else {
        return refuseArgument("a pointer is NULL")
    }
    guard let wanted = unsafe FileAttributes(attributes) else {
        return refuseArgument(badAttributes)
    }
    return filesystemReturnCode { () throws(FilesystemError) in
        let file = try unsafe filesystem(fs).createFile(FilePath(bytes: bytes(name)), wanted)
        unsafe out.pointee = handle(file)
    }
}

@c @implementation
public func bg_file_create_with(
    _ fs: OpaquePointer?,
    _ path: UnsafePointer<CChar>?,
    _ attributes: UnsafePointer<bg_attributes>?,
    _ buffer: UnsafeRawPointer?,
    _ length: Int
) -> CInt {
    guard let fs = unsafe fs, let name = unsafe path, unsafe buffer != nil || length == 0,
        length >= 0
    else { return refuseArgument("a pointer is NULL, or the length is absurd") }
    guard let wanted = unsafe FileAttributes(attributes) else {
        return refuseArgument(badAttributes)
    }
    return filesystemReturnCode { () throws(FilesystemError) in
        try unsafe filesystem(fs).createFile(
            FilePath(bytes: bytes(name)),
            wanted,
            contents: UnsafeRawBufferPointer(start: buffer, count: length)
        )
    }
}

@c @implementation
public func bg_file_open(
    _ fs: OpaquePointer?,
    _ path: UnsafePointer<CChar>?,
    _ file_out: UnsafeMutablePointer<OpaquePointer?>?
) -> CInt {
    guard let fs = unsafe fs, let name = unsafe path, let out = unsafe file_out else {
        return refuseArgument("a pointer is NULL")
    }
    return filesystemReturnCode { () throws(FilesystemError) in
        let file = try unsafe filesystem(fs).openFile(FilePath(bytes: bytes(name)))
        unsafe out.pointee = handle(file)
    }
}

@c @implementation
public func bg_file_close(_ file: OpaquePointer?) -> CInt {
    guard let file = unsafe file else { return 0 }
    let opened = unsafe Unmanaged<File>.fromOpaque(UnsafeRawPointer(file)).takeRetainedValue()
    return filesystemReturnCode { () throws(FilesystemError) in try opened.close() }
}

@c @implementation
public func bg_file_pread(
    _ file: OpaquePointer?,
    _ buffer: UnsafeMutableRawPointer?,
    _ length: Int,
    _ offset: UInt64,
    _ length_out: UnsafeMutablePointer<Int>?
) -> CInt {
    guard let file = unsafe file, let out = unsafe length_out,
        unsafe buffer != nil || length == 0, length >= 0
    else { return refuseArgument("a pointer is NULL, or the length is absurd") }
    return filesystemReturnCode { () throws(FilesystemError) in
        let count = try unsafe openFile(file).read(
            at: offset,
            into: UnsafeMutableRawBufferPointer(start: buffer, count: length)
        )
        unsafe out.pointee = count
    }
}

@c @implementation
public func bg_file_pwrite(
    _ file: OpaquePointer?,
    _ buffer: UnsafeRawPointer?,
    _ length: Int,
    _ offset: UInt64
) -> CInt {
    guard let file = unsafe file, unsafe buffer != nil || length == 0, length >= 0 else {
        return refuseArgument("a pointer is NULL, or the length is absurd")
    }
    return filesystemReturnCode { () throws(FilesystemError) in
        try unsafe openFile(file).write(
            at: offset,
            from: UnsafeRawBufferPointer(start: buffer, count: length)
        )
    }
}

@c @implementation
public func bg_file_truncate(_ file: OpaquePointer?, _ size: UInt64) -> CInt {
    guard let file = unsafe file else { return refuseArgument("file is NULL") }
    return filesystemReturnCode { () throws(FilesystemError) in
        try unsafe openFile(file).truncate(to: size)
    }
}

@c @implementation
public func bg_file_stat(
    _ file: OpaquePointer?,
    _ stat_out: UnsafeMutablePointer<bg_stat>?
) -> CInt {
    guard let file = unsafe file, let out = unsafe stat_out else {
        return refuseArgument("a pointer is NULL")
    }
    return filesystemReturnCode { () throws(FilesystemError) in
        let metadata = try unsafe openFile(file).metadata
        unsafe out.pointee = bg_stat(metadata)
    }
}

@c @implementation
public func bg_file_attach(
    _ file: OpaquePointer?,
    _ offset: UInt64,
    _ extent: UnsafePointer<bg_extent>?
) -> CInt {
    guard let file = unsafe file, let extent = unsafe extent else {
        return refuseArgument("a pointer is NULL")
    }
    return filesystemReturnCode { () throws(FilesystemError) in
        let range = unsafe Extent(
            logical: extent.pointee.logical,
            length: extent.pointee.length
        )
        try unsafe openFile(file).attach(range, at: offset)
    }
}

// MARK: names

@c @implementation
public func bg_mkdir(
    _ fs: OpaquePointer?,
    _ path: UnsafePointer<CChar>?,
    _ attributes: UnsafePointer<bg_attributes>?
) -> CInt {
    guard let fs = unsafe fs, let name = unsafe path else {
        return refuseArgument("a pointer is NULL")
    }
    guard let wanted = unsafe FileAttributes(attributes) else {
        return refuseArgument(badAttributes)
    }
    return filesystemReturnCode { () throws(FilesystemError) in
        try unsafe filesystem(fs).makeDirectory(FilePath(bytes: bytes(name)), wanted)
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
    guard let fs = unsafe fs, let name = unsafe path else {
        return refuseArgument("a pointer is NULL")
    }
    guard let wanted = unsafe FileAttributes(attributes) else {
        return refuseArgument(badAttributes)
    }
    let kinds: [FileKind] = [.characterDevice, .blockDevice, .fifo, .socket]
    guard let kind = kinds.first(where: { $0.modeBits == mode }) else {
        return refuseArgument("mode is none of S_IFCHR, S_IFBLK, S_IFIFO and S_IFSOCK")
    }
    return filesystemReturnCode { () throws(FilesystemError) in
        try unsafe filesystem(fs).makeSpecialFile(
            FilePath(bytes: bytes(name)),
            kind,
            device: device,
            wanted
        )
    }
}

@c @implementation
public func bg_symlink(
    _ fs: OpaquePointer?,
    _ target: UnsafePointer<CChar>?,
    _ path: UnsafePointer<CChar>?,
    _ attributes: UnsafePointer<bg_attributes>?
) -> CInt {
    guard let fs = unsafe fs, let target = unsafe target, let name = unsafe path else {
        return refuseArgument("a pointer is NULL")
    }
    guard let wanted = unsafe FileAttributes(attributes) else {
        return refuseArgument(badAttributes)
    }
    return filesystemReturnCode { () throws(FilesystemError) in
        try unsafe filesystem(fs).makeSymbolicLink(
            FilePath(bytes: bytes(name)),
            to: bytes(target),
            wanted
        )
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
    guard let fs = unsafe fs, let name = unsafe path, let out = unsafe length_out,
        unsafe target != nil || size == 0, size >= 0
    else { return refuseArgument("a pointer is NULL, or the size is absurd") }
    return filesystemReturnCode { () throws(FilesystemError) in
        let found = try unsafe filesystem(fs).symbolicLinkTarget(of: FilePath(bytes: bytes(name)))
        unsafe copy(found, UnsafeMutableRawBufferPointer(start: target, count: size))
        unsafe out.pointee = found.count
    }
}

/// As many bytes as fit.
private func copy(_ bytes: [UInt8], _ buffer: UnsafeMutableRawBufferPointer) {
    let count = min(bytes.count, buffer.count)
    guard count > 0 else { return }
    unsafe UnsafeMutableRawBufferPointer(rebasing: buffer[..<count])
        .copyBytes(from: bytes[..<count])
}

@c @implementation
public func bg_link(
    _ fs: OpaquePointer?,
    _ existing: UnsafePointer<CChar>?,
    _ path: UnsafePointer<CChar>?
) -> CInt {
    guard let fs = unsafe fs, let existing = unsafe existing, let name = unsafe path else {
        return refuseArgument("a pointer is NULL")
    }
    return filesystemReturnCode { () throws(FilesystemError) in
        try unsafe filesystem(fs).makeHardLink(
            FilePath(bytes: bytes(name)),
            to: FilePath(bytes: bytes(existing))
        )
    }
}

@c @implementation
public func bg_rename(
    _ fs: OpaquePointer?,
    _ from: UnsafePointer<CChar>?,
    _ to: UnsafePointer<CChar>?
) -> CInt {
    guard let fs = unsafe fs, let from = unsafe from, let to = unsafe to else {
        return refuseArgument("a pointer is NULL")
    }
    return filesystemReturnCode { () throws(FilesystemError) in
        try unsafe filesystem(fs).rename(
            FilePath(bytes: bytes(from)),
            to: FilePath(bytes: bytes(to))
        )
    }
}

@c @implementation
public func bg_unlink(_ fs: OpaquePointer?, _ path: UnsafePointer<CChar>?) -> CInt {
    guard let fs = unsafe fs, let name = unsafe path else {
        return refuseArgument("a pointer is NULL")
    }
    return filesystemReturnCode { () throws(FilesystemError) in
        try unsafe filesystem(fs).removeFile(FilePath(bytes: bytes(name)))
    }
}

@c @implementation
public func bg_rmdir(_ fs: OpaquePointer?, _ path: UnsafePointer<CChar>?) -> CInt {
    guard let fs = unsafe fs, let name = unsafe path else {
        return refuseArgument("a pointer is NULL")
    }
    return filesystemReturnCode { () throws(FilesystemError) in
        try unsafe filesystem(fs).removeDirectory(FilePath(bytes: bytes(name)))
    }
}

@c @implementation
public func bg_readdir(
    _ fs: OpaquePointer?,
    _ path: UnsafePointer<CChar>?,
    _ visit: (@convention(c) (UnsafeMutableRawPointer?, UnsafePointer<bg_dirent>?) -> CInt)?,
    _ context: UnsafeMutableRawPointer?
) -> CInt {
    guard let fs = unsafe fs, let name = unsafe path, let visit = unsafe visit else {
        return refuseArgument("a pointer is NULL")
    }
    var stopped: CInt = 0
    let result = filesystemReturnCode { () throws(FilesystemError) in
        try unsafe filesystem(fs).list(FilePath(bytes: bytes(name))) {
            (entry) throws(FilesystemError) in
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
private func withCString(
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

// MARK: attributes

@c @implementation
public func bg_stat(
    _ fs: OpaquePointer?,
    _ path: UnsafePointer<CChar>?,
    _ stat_out: UnsafeMutablePointer<bg_stat>?
) -> CInt {
    guard let fs = unsafe fs, let name = unsafe path, let out = unsafe stat_out else {
        return refuseArgument("a pointer is NULL")
    }
    return filesystemReturnCode { () throws(FilesystemError) in
        let metadata = try unsafe filesystem(fs).metadata(of: FilePath(bytes: bytes(name)))
        unsafe out.pointee = CBlockGroups.bg_stat(metadata)
    }
}

@c @implementation
public func bg_set_attributes(
    _ fs: OpaquePointer?,
    _ path: UnsafePointer<CChar>?,
    _ attributes: UnsafePointer<bg_attributes>?
) -> CInt {
    guard let fs = unsafe fs, let name = unsafe path, unsafe attributes != nil else {
        return refuseArgument("a pointer is NULL")
    }
    guard let wanted = unsafe FileAttributes(attributes) else {
        return refuseArgument(badAttributes)
    }
    return filesystemReturnCode { () throws(FilesystemError) in
        try unsafe filesystem(fs).setAttributes(of: FilePath(bytes: bytes(name)), wanted)
    }
}

@c @implementation
public func bg_set_xattr(
    _ fs: OpaquePointer?,
    _ path: UnsafePointer<CChar>?,
    _ name: UnsafePointer<CChar>?,
    _ value: UnsafeRawPointer?,
    _ length: Int
) -> CInt {
    guard let fs = unsafe fs, let path = unsafe path, let name = unsafe name, length >= 0 else {
        return refuseArgument("a pointer is NULL, or the length is absurd")
    }
    var bytesOfValue: [UInt8]?
    if let value = unsafe value {
        bytesOfValue = unsafe [UInt8](UnsafeRawBufferPointer(start: value, count: length))
    }
    return filesystemReturnCode { () throws(FilesystemError) in
        try unsafe filesystem(fs).setExtendedAttribute(
            bytes(name),
            of: FilePath(bytes: bytes(path)),
            to: bytesOfValue
        )
    }
}

@c @implementation
public func bg_get_xattr(
    _ fs: OpaquePointer?,
    _ path: UnsafePointer<CChar>?,
    _ name: UnsafePointer<CChar>?,
    _ value: UnsafeMutableRawPointer?,
    _ size: Int,
    _ length_out: UnsafeMutablePointer<Int>?
) -> CInt {
    guard let fs = unsafe fs, let path = unsafe path, let name = unsafe name,
        let out = unsafe length_out, unsafe value != nil || size == 0, size >= 0
    else { return refuseArgument("a pointer is NULL, or the size is absurd") }
    return filesystemReturnCode { () throws(FilesystemError) in
        let found = try unsafe filesystem(fs).extendedAttribute(
            bytes(name),
            of: FilePath(bytes: bytes(path))
        )
        unsafe copy(found, UnsafeMutableRawBufferPointer(start: value, count: size))
        unsafe out.pointee = found.count
    }
}

@c @implementation
public func bg_list_xattrs(
    _ fs: OpaquePointer?,
    _ path: UnsafePointer<CChar>?,
    _ visit: (@convention(c) (UnsafeMutableRawPointer?, UnsafePointer<CChar>?) -> CInt)?,
    _ context: UnsafeMutableRawPointer?
) -> CInt {
    guard let fs = unsafe fs, let path = unsafe path, let visit = unsafe visit else {
        return refuseArgument("a pointer is NULL")
    }
    var stopped: CInt = 0
    let result = filesystemReturnCode { () throws(FilesystemError) in
        let names = try unsafe filesystem(fs).extendedAttributeNames(
            of: FilePath(bytes: bytes(path))
        )
        for name in names where stopped == 0 {
            stopped = unsafe withCString(name) { unsafe visit(context, $0) }
        }
    }
    return result == 0 ? stopped : result
}
