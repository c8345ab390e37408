//===-- HostFolder.swift - files of the machine that bgctl runs on ---------------------------------===//
// Folders are held open and files named relative to them, so that paths may be of any length and
// nothing outside of a tree is reached by a folder that was exchanged for a link meanwhile.
//
// Names are bytes: Linux does not ask for UTF-8.

import Glibc
import HostFiles

/// What a system call said about a file of the machine's.
struct HostError: Error {
    let message: String

    init(path: String, number: CInt) { message = "\(path): \(errorText(number))" }
    init(path: String, _ words: String) { message = "\(path): \(words)" }
}

/// A descriptor that is closed with the last reference.
final class HostFile: Sendable {
    let descriptor: CInt

    init(_ descriptor: CInt) { self.descriptor = descriptor }

    deinit { close(descriptor) }

    /// Reads until the buffer is full or the file ends; returns the bytes, or nil with errno set.
    func read(at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) -> Int? {
        var done = 0
        while done < buffer.count {
            let count = unsafe pread(
                descriptor,
                buffer.baseAddress! + done,
                buffer.count - done,
                off_t(offset) + off_t(done)
            )
            if count < 0, errno == EINTR { continue }
            if count < 0 { return nil }
            if count == 0 { break }
            done += count
        }
        return done
    }

    /// Writes all; false with errno set.
    func write(at offset: UInt64, from buffer: UnsafeRawBufferPointer) -> Bool {
        var done = 0
        while done < buffer.count {
            let count = unsafe pwrite(
                descriptor,
                buffer.baseAddress! + done,
                buffer.count - done,
                off_t(offset) + off_t(done)
            )
            if count < 0, errno == EINTR { continue }
            if count <= 0 { return false }
            done += count
        }
        return true
    }

    /// What is no hole of a file's first `size` bytes, in order. A file system that cannot tell says
    /// that all of it is data.
    func dataRanges(size: UInt64) -> [Range<UInt64>] {
        var ranges: [Range<UInt64>] = []
        var from: off_t = 0
        while UInt64(from) < size {
            let start = lseek(descriptor, from, HOST_SEEK_DATA)
            if start < 0 {
                // Nothing but a hole is left.
                if errno == ENXIO { break }
                return [0..<size]
            }
            let end = lseek(descriptor, start, HOST_SEEK_HOLE)
            guard end > start else { return [0..<size] }
            guard UInt64(start) < size else { break }
            ranges.append(UInt64(start)..<min(UInt64(end), size))
            from = end
        }
        return ranges
    }

    func status() -> stat? {
        var status = stat()
        return unsafe fstat(descriptor, &status) == 0 ? status : nil
    }
}

/// The last name of a path, and the index of the slash before it, in UTF-8; slashes at the end do not
/// count.
func lastName(of path: String) -> (name: [UInt8], slash: Int?) {
    var bytes = [UInt8](path.utf8)
    while bytes.count > 1, bytes.last == 0x2f { bytes.removeLast() }
    let slash = bytes.lastIndex(of: 0x2f)
    return ([UInt8](bytes[(slash.map { $0 + 1 } ?? 0)...]), slash)
}

/// An open folder.
final class HostFolder: Sendable {
    private let file: HostFile
    private let pathBytes: [UInt8]

    /// For messages.
    var path: String { shown(pathBytes) }

    var descriptor: CInt { file.descriptor }

    /// - Parameter path: a link at its end is followed.
    init(_ path: String) throws {
        let opened = unsafe Glibc.open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard opened >= 0 else { throw HostError(path: path, number: errno) }
        file = HostFile(opened)
        pathBytes = [UInt8](path.utf8)
    }

    /// The folder that a path's last name is in.
    ///
    /// - Parameter slash: index of the slash before the name, in UTF-8; nil: there is none.
    init(parentOf path: String, _ slash: Int?) throws {
        let bytes = slash.map { [UInt8](path.utf8.prefix(max($0, 1))) } ?? []
        let name = bytes.isEmpty ? [0x2e] : bytes
        let opened = unsafe withPath(name) {
            unsafe Glibc.open($0, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        }
        guard opened >= 0 else { throw HostError(path: shown(name), number: errno) }
        file = HostFile(opened)
        pathBytes = bytes
    }

    private init(_ descriptor: CInt, _ path: [UInt8]) {
        file = HostFile(descriptor)
        pathBytes = path
    }

    func pathBytes(of name: [UInt8]) -> [UInt8] {
        pathBytes + (pathBytes.isEmpty || pathBytes.last == 0x2f ? [] : [0x2f]) + name
    }

    /// For messages.
    func path(of name: [UInt8]) -> String { shown(pathBytes(of: name)) }

    func error(_ name: [UInt8], _ number: CInt = errno) -> HostError {
        HostError(path: path(of: name), number: number)
    }

    /// A folder in this one; a link is not followed.
    func folder(_ name: [UInt8]) throws -> HostFolder {
        let opened = try open(name, O_RDONLY | O_DIRECTORY)
        return HostFolder(opened, pathBytes(of: name))
    }

    /// A file in this folder; a link is not followed, and a pipe not waited for.
    func file(_ name: [UInt8], _ flags: CInt, mode: mode_t = 0) throws -> HostFile {
        HostFile(try open(name, flags | O_NONBLOCK, mode))
    }

    private func open(_ name: [UInt8], _ flags: CInt, _ mode: mode_t = 0) throws -> CInt {
        let opened = unsafe withPath(name) { path in
            unsafe openat(descriptor, path, flags | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY, mode)
        }
        guard opened >= 0 else { throw error(name) }
        return opened
    }

    func status() throws -> stat {
        guard let status = file.status() else { throw HostError(path: path, number: errno) }
        return status
    }

    func status(of name: [UInt8]) throws -> stat {
        var status = stat()
        let failed = unsafe withPath(name) { path in
            unsafe fstatat(descriptor, path, &status, AT_SYMLINK_NOFOLLOW)
        }
        guard failed == 0 else { throw error(name) }
        return status
    }

    func linkTarget(of name: [UInt8]) throws -> [UInt8] {
        var target = [UInt8](repeating: 0, count: 4096)
        let count = unsafe withPath(name) { path in
            unsafe target.withUnsafeMutableBytes { buffer in
                unsafe readlinkat(
                    descriptor,
                    path,
                    buffer.baseAddress!.assumingMemoryBound(to: CChar.self),
                    buffer.count
                )
            }
        }
        guard count >= 0 else { throw error(name) }
        return [UInt8](target[..<count])
    }

    /// All names but `.` and `..`, each with its DT_ type.
    func names() throws -> [(name: [UInt8], type: UInt8)] {
        // An offset of its own: the descriptor may be listed again.
        let opened = unsafe openat(descriptor, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard opened >= 0, let list = unsafe fdopendir(opened) else {
            throw HostError(path: path, number: errno)
        }
        defer { unsafe closedir(list) }
        var names: [(name: [UInt8], type: UInt8)] = []
        while true {
            errno = 0
            guard let entry = unsafe readdir(list) else { break }
            let start = unsafe UnsafeRawPointer(entry) + MemoryLayout<dirent>.offset(of: \.d_name)!
            let count = unsafe strlen(start.assumingMemoryBound(to: CChar.self))
            let name = unsafe [UInt8](UnsafeRawBufferPointer(start: start, count: count))
            if name == [0x2e] || name == [0x2e, 0x2e] { continue }
            let type = unsafe UnsafeRawPointer(entry).load(
                fromByteOffset: MemoryLayout<dirent>.offset(of: \.d_type)!,
                as: UInt8.self
            )
            names.append((name, type))
        }
        guard errno == 0 else { throw HostError(path: path, number: errno) }
        return names
    }
}

/// Calls `body` with bytes as a path.
func withPath<Result>(
    _ bytes: [UInt8],
    _ body: (UnsafePointer<CChar>) throws -> Result
) rethrows -> Result {
    var path = bytes
    path.append(0)
    return try unsafe path.withUnsafeBytes { buffer in
        try unsafe body(buffer.baseAddress!.assumingMemoryBound(to: CChar.self))
    }
}

/// Bytes of a path for people, on one line.
func shown(_ bytes: [UInt8]) -> String {
    printable(String(decoding: bytes, as: UTF8.self))
}
