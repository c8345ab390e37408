//===-- Formatting.swift - bg_fs_format() ---------------------------------------------------------===//

import BGDiskFormat
import BlockGroups
public import CBlockGroups

@c @implementation
public func bg_fs_format(
    _ paths: UnsafePointer<UnsafePointer<CChar>?>?,
    _ path_count: Int,
    _ options: UnsafePointer<bg_format_options>?
) -> CInt {
    guard let paths = unsafe paths, path_count > 0 else {
        return refuseArgument("a pointer is NULL, or there is no path")
    }
    guard let names = unsafe strings(paths, path_count) else {
        return refuseArgument("a path is NULL")
    }
    var wishes = FormatOptions()
    if let options = unsafe options {
        guard unsafe Int(options.pointee.size) == MemoryLayout<bg_format_options>.size else {
            return refuseArgument("bg_format_options::size is not sizeof(struct bg_format_options)")
        }
        let problem = unsafe read(options.pointee, into: &wishes)
        if let problem { return refuseArgument(problem) }
    }
    return filesystemReturnCode { () throws(FilesystemError) in
        try Filesystem.format(paths: names, wishes)
    }
}

/// Translates what a caller wishes; what is wrong with it, if anything.
private func read(
    _ options: bg_format_options,
    into wishes: inout FormatOptions
) -> StaticString? {
    let known = BG_FORMAT_OVERWRITE | BG_FORMAT_MIXED | BG_FORMAT_BLOCK_GROUP_TREE
    guard unsafe options.flags & ~UInt32(known) == 0 else { return "unknown flags" }
    guard unsafe options.reserved == (0, 0, 0, 0) else { return "reserved bytes are not 0" }
    guard let checksum = unsafe UInt16(exactly: options.checksum).flatMap(ChecksumType.init) else {
        return "unknown checksum"
    }
    let data = unsafe profile(options.data_profile)
    let metadata = unsafe profile(options.metadata_profile)
    guard let data, let metadata else { return "not one profile" }
    wishes.overwrites = unsafe options.flags & UInt32(BG_FORMAT_OVERWRITE) != 0
    wishes.isMixed = unsafe options.flags & UInt32(BG_FORMAT_MIXED) != 0
    wishes.hasBlockGroupTree = unsafe options.flags & UInt32(BG_FORMAT_BLOCK_GROUP_TREE) != 0
    wishes.dataProfile = data
    wishes.metadataProfile = metadata
    wishes.checksumType = checksum
    if unsafe options.node_size != 0 { wishes.nodeSize = unsafe options.node_size }
    if unsafe options.device_bytes != 0 { wishes.deviceBytes = unsafe options.device_bytes }
    if let label = unsafe options.label { wishes.label = unsafe labelBytes(label) }
    let uuid = unsafe uuid(options)
    if uuid != .zero { wishes.uuid = uuid }
    return nil
}

/// A label, or as much of it as shows that it is too long.
private func labelBytes(_ label: UnsafePointer<CChar>) -> [UInt8] {
    var bytes: [UInt8] = []
    while bytes.count < 256, unsafe label[bytes.count] != 0 {
        unsafe bytes.append(UInt8(bitPattern: label[bytes.count]))
    }
    return bytes
}

/// A profile of its bit; `.some(nil)`: no wish; nil: no single profile.
private func profile(_ bits: UInt64) -> Profile?? {
    if bits == 0 { return .some(nil) }
    if bits == UInt64(1) << 48 { return .single }
    let flags = ChunkFlags(rawValue: bits)
    guard bits & ~ChunkFlags.profileMask.rawValue == 0, let profile = flags.profile else {
        return nil
    }
    return profile
}

private func uuid(_ options: bg_format_options) -> FilesystemUUID {
    var high: UInt64 = 0
    var low: UInt64 = 0
    unsafe withUnsafeBytes(of: options.uuid) { bytes in
        for index in 0..<8 {
            high = unsafe high << 8 | UInt64(bytes[index])
            low = unsafe low << 8 | UInt64(bytes[index + 8])
        }
    }
    return FilesystemUUID(high: high, low: low)
}
