//===-- Attributes.swift - attributes of files: bg_stat(), bg_set_attributes(), bg_*_xattr* -------===//

import BGDiskFormat
import BlockGroups
public import CBlockGroups

extension FileTime {
    fileprivate init(_ time: bg_time) {
        self.init(seconds: time.seconds, nanoseconds: time.nanoseconds)
    }
}

extension bg_time {
    fileprivate init(_ time: FileTime) {
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

let badAttributes: StaticString =
    "bg_attributes::size is wrong, or unknown bits or reserved bytes are not 0"

@c @implementation
public func bg_stat(
    _ fs: OpaquePointer?,
    _ path: UnsafePointer<CChar>?,
    _ stat_out: UnsafeMutablePointer<bg_stat>?
) -> CInt {
    guard let out = unsafe stat_out else { return refuseNull() }
    return unsafe withPath(fs, path) { (filesystem, path) throws(FilesystemError) in
        let metadata = try filesystem.metadata(of: path)
        unsafe out.pointee = CBlockGroups.bg_stat(metadata)
    }
}

@c @implementation
public func bg_set_attributes(
    _ fs: OpaquePointer?,
    _ path: UnsafePointer<CChar>?,
    _ attributes: UnsafePointer<bg_attributes>?
) -> CInt {
    guard unsafe attributes != nil else { return refuseNull() }
    return unsafe withPath(fs, path, attributes) {
        (filesystem, path, wanted) throws(FilesystemError) in
        try filesystem.setAttributes(of: path, wanted)
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
    guard let name = unsafe name, length >= 0 else { return refuseLength() }
    var bytesOfValue: [UInt8]?
    if let value = unsafe value {
        bytesOfValue = unsafe [UInt8](UnsafeRawBufferPointer(start: value, count: length))
    }
    return unsafe withPath(fs, path) { (filesystem, path) throws(FilesystemError) in
        try unsafe filesystem.setExtendedAttribute(bytes(name), of: path, to: bytesOfValue)
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
    guard let name = unsafe name else { return refuseNull() }
    return unsafe copyOut(fs, path, value, size, length_out) {
        (filesystem, path) throws(FilesystemError) in
        try unsafe filesystem.extendedAttribute(bytes(name), of: path)
    }
}

@c @implementation
public func bg_list_xattrs(
    _ fs: OpaquePointer?,
    _ path: UnsafePointer<CChar>?,
    _ visit: (@convention(c) (UnsafeMutableRawPointer?, UnsafePointer<CChar>?) -> CInt)?,
    _ context: UnsafeMutableRawPointer?
) -> CInt {
    guard let visit = unsafe visit else { return refuseNull() }
    var stopped: CInt = 0
    let result = unsafe withPath(fs, path) { (filesystem, path) throws(FilesystemError) in
        let names = try filesystem.extendedAttributeNames(of: path)
        for name in names where stopped == 0 {
            stopped = unsafe withCString(name) { unsafe visit(context, $0) }
        }
    }
    return result == 0 ? stopped : result
}
