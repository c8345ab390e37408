//===-- Filesystems.swift - bg_fs_* --------------------------------------------------------------===//
// A struct bg_fs is a Filesystem, retained once by bg_fs_open().

import BGAllocation
import BGDiskFormat
import BlockGroups
public import CBlockGroups

/// The file system behind a handle.
func filesystem(_ fs: OpaquePointer) -> Filesystem {
    unsafe Unmanaged<Filesystem>.fromOpaque(UnsafeRawPointer(fs)).takeUnretainedValue()
}

@c @implementation
public func bg_fs_open(
    _ paths: UnsafePointer<UnsafePointer<CChar>?>?,
    _ path_count: Int,
    _ flags: UInt32,
    _ fs_out: UnsafeMutablePointer<OpaquePointer?>?
) -> CInt {
    guard let paths = unsafe paths, let out = unsafe fs_out, path_count > 0 else {
        return refuseArgument("a pointer is NULL, or there is no path")
    }
    guard flags & ~UInt32(BG_OPEN_READ_ONLY | BG_OPEN_EXTENT_TREE) == 0 else {
        return refuseArgument("unknown flags")
    }
    guard let names = unsafe strings(paths, path_count) else {
        return refuseArgument("a path is NULL")
    }
    return filesystemReturnCode { () throws(FilesystemError) in
        let opened = try Filesystem(
            paths: names,
            readOnly: flags & UInt32(BG_OPEN_READ_ONLY) != 0,
            freeSpace: flags & UInt32(BG_OPEN_EXTENT_TREE) != 0 ? .extentTree : .automatic
        )
        unsafe out.pointee = OpaquePointer(Unmanaged.passRetained(opened).toOpaque())
    }
}

@c @implementation
public func bg_fs_close(_ fs: OpaquePointer?) -> CInt {
    guard let fs = unsafe fs else { return 0 }
    let result = filesystemReturnCode { () throws(FilesystemError) in
        try unsafe filesystem(fs).close()
    }
    unsafe Unmanaged<Filesystem>.fromOpaque(UnsafeRawPointer(fs)).release()
    return result
}

@c @implementation
public func bg_fs_commit(_ fs: OpaquePointer?) -> CInt {
    guard let fs = unsafe fs else { return refuseArgument("fs is NULL") }
    return filesystemReturnCode { () throws(FilesystemError) in
        try unsafe filesystem(fs).commit()
    }
}

@c @implementation
public func bg_fs_allocator(_ fs: OpaquePointer?) -> OpaquePointer? {
    guard let fs = unsafe fs else { return nil }
    return unsafe AllocatorHandle(filesystem(fs).allocator).opaque
}

@c @implementation
public func bg_fs_claim(
    _ fs: OpaquePointer?,
    _ options: UnsafePointer<bg_claim_options>?,
    _ extent_out: UnsafeMutablePointer<bg_extent>?
) -> CInt {
    guard let fs = unsafe fs, let options = unsafe options, let out = unsafe extent_out else {
        return refuseNull()
    }
    guard let request = unsafe ClaimRequest(options) else { return refuseOptions() }
    return filesystemReturnCode { () throws(FilesystemError) in
        let extent = try unsafe filesystem(fs).claimData(request).commit()
        unsafe out.pointee = bg_extent(logical: extent.logical, length: extent.length)
    }
}

@c @implementation
public func bg_fs_pread(
    _ fs: OpaquePointer?,
    _ buffer: UnsafeMutableRawPointer?,
    _ length: Int,
    _ logical: UInt64
) -> CInt {
    guard let fs = unsafe fs, let space = unsafe bytes(buffer, length) else {
        return refuseLength()
    }
    return filesystemReturnCode { () throws(FilesystemError) in
        try unsafe filesystem(fs).read(logical: logical, into: space)
    }
}

@c @implementation
public func bg_fs_pwrite(
    _ fs: OpaquePointer?,
    _ buffer: UnsafeRawPointer?,
    _ length: Int,
    _ logical: UInt64
) -> CInt {
    guard let fs = unsafe fs, let contents = unsafe bytes(buffer, length) else {
        return refuseLength()
    }
    return filesystemReturnCode { () throws(FilesystemError) in
        try unsafe filesystem(fs).write(logical: logical, from: contents)
    }
}

@c @implementation
public func bg_fs_remove_group(_ fs: OpaquePointer?, _ logical: UInt64) -> CInt {
    guard let fs = unsafe fs else { return refuseArgument("fs is NULL") }
    return filesystemReturnCode { () throws(FilesystemError) in
        try unsafe filesystem(fs).removeEmptyGroup(at: logical)
    }
}

@c @implementation
public func bg_fs_statistics(
    _ fs: OpaquePointer?,
    _ statistics_out: UnsafeMutablePointer<bg_fs_statistics>?
) -> CInt {
    guard let fs = unsafe fs, let out = unsafe statistics_out else {
        return refuseNull()
    }
    let now = unsafe filesystem(fs).statistics
    unsafe out.pointee = bg_fs_statistics(
        corrected_reads: now.correctedReads,
        checksum_mismatches: now.checksumMismatches,
        repaired_copies: now.repairedCopies,
        read_errors: now.readErrors,
        write_errors: now.writeErrors,
        reserved: (0, 0, 0)
    )
    return 0
}
