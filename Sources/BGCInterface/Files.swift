//===-- Files.swift - bg_file_* --------------------------------------------------------------------===//
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

@c @implementation
public func bg_file_create(
    _ fs: OpaquePointer?,
    _ path: UnsafePointer<CChar>?,
    _ attributes: UnsafePointer<bg_attributes>?,
    _ file_out: UnsafeMutablePointer<OpaquePointer?>?
) -> CInt {
    guard let out = unsafe file_out else { return refuseNull() }
    return unsafe withPath(fs, path, attributes) {
        (filesystem, path, wanted) throws(FilesystemError) in
        unsafe out.pointee = handle(try filesystem.createFile(path, wanted))
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
    guard let contents = unsafe bytes(buffer, length) else { return refuseLength() }
    return unsafe withPath(fs, path, attributes) {
        (filesystem, path, wanted) throws(FilesystemError) in
        try unsafe filesystem.createFile(path, wanted, contents: contents)
    }
}

@c @implementation
public func bg_file_open(
    _ fs: OpaquePointer?,
    _ path: UnsafePointer<CChar>?,
    _ file_out: UnsafeMutablePointer<OpaquePointer?>?
) -> CInt {
    guard let out = unsafe file_out else { return refuseNull() }
    return unsafe withPath(fs, path) { (filesystem, path) throws(FilesystemError) in
        unsafe out.pointee = handle(try filesystem.openFile(path))
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
        let space = unsafe bytes(buffer, length)
    else { return refuseLength() }
    return filesystemReturnCode { () throws(FilesystemError) in
        let count = try unsafe openFile(file).read(at: offset, into: space)
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
    guard let file = unsafe file, let contents = unsafe bytes(buffer, length) else {
        return refuseLength()
    }
    return filesystemReturnCode { () throws(FilesystemError) in
        try unsafe openFile(file).write(at: offset, from: contents)
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
        return refuseNull()
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
        return refuseNull()
    }
    return filesystemReturnCode { () throws(FilesystemError) in
        let range = unsafe Extent(
            logical: extent.pointee.logical,
            length: extent.pointee.length
        )
        try unsafe openFile(file).attach(range, at: offset)
    }
}
