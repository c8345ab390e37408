//===-- PutWorker.swift - a thread that copies files into a file system ----------------------------===//
// A small file is read whole and made in one change. A larger one is made empty and cut into parts
// that any worker may copy; whoever ends the last part gives it its size and times. One that does not
// become whole is removed.

import BGDiskFormat
import BlockGroups
import Glibc
import HostFiles
import Synchronization

/// A file that is copied in parts.
final class LargeFile: Sendable {
    let source: HostFile
    /// For messages.
    let sourcePath: String
    let path: FilePath
    let file: File
    let size: UInt64
    let attributes: FileAttributes
    /// Parts that are not copied yet.
    let partsLeft: Atomic<Int>
    let isFailed = StopSign()

    init(
        _ source: HostFile,
        _ sourcePath: String,
        _ path: FilePath,
        _ file: File,
        _ status: stat,
        parts: Int
    ) {
        self.source = source
        self.sourcePath = sourcePath
        self.path = path
        self.file = file
        size = UInt64(status.st_size)
        attributes = FileAttributes(status)
        partsLeft = Atomic(parts)
    }
}

@safe
final class PutWorker {
    /// Files up to this are made in one change.
    private static let wholeBytesMax: UInt64 = 1 << 20
    /// A part: the longest extent.
    private static let partBytesMax: UInt64 = 128 << 20

    private let run: PutRun
    private let buffer: UnsafeMutableRawBufferPointer

    private var filesystem: Filesystem { run.filesystem }

    init(_ run: PutRun) {
        self.run = run
        unsafe buffer = .allocate(byteCount: Int(Self.wholeBytesMax), alignment: 4096)
    }

    deinit { unsafe buffer.deallocate() }

    func work() {
        run.queue.work { item in
            do {
                switch item {
                case .entry(let folder, let name, let type, let path):
                    try copy(name, type, in: folder, to: path)
                case .part(let file, let range): try copyPart(of: file, range)
                }
            } catch let error as HostError {
                run.counts.skip(error.message)
            } catch let error as ImageFileError where error.isOfOneFile {
                run.counts.skip(error.message([]))
            } catch {
                run.queue.stop(error)
            }
        }
    }

    // MARK: by kind

    private func copy(
        _ name: [UInt8],
        _ type: UInt8,
        in folder: HostFolder,
        to path: FilePath
    ) throws {
        if Int(type) == DT_REG { return try copyFile(name, in: folder, to: path) }
        let status = try folder.status(of: name)
        if status.st_mode & S_IFMT == S_IFREG {
            return try copyFile(name, in: folder, to: path)
        }
        if status.st_nlink > 1, isLaterName(status, path) { return }
        switch status.st_mode & S_IFMT {
        case S_IFLNK:
            let target = try folder.linkTarget(of: name)
            try make(path) { () throws(FilesystemError) in
                try filesystem.makeSymbolicLink(path, to: target, FileAttributes(status))
            }
        case S_IFIFO: try makeSpecial(.fifo, status, path)
        case S_IFSOCK: try makeSpecial(.socket, status, path)
        case S_IFCHR: try makeSpecial(.characterDevice, status, path)
        case S_IFBLK: try makeSpecial(.blockDevice, status, path)
        default: throw folder.error(name, EOPNOTSUPP)
        }
        try run.copyExtendedAttributes(HostAttributes(of: name, in: folder), to: path)
        run.counts.addOther()
    }

    /// Whether the file was met before by another name; this one is then made at the end.
    private func isLaterName(_ status: stat, _ path: FilePath) -> Bool {
        run.links.withLock { links in
            if let first = links.first[FileID(status)] {
                links.later.append((new: path, old: first))
                return true
            }
            links.first[FileID(status)] = path
            return false
        }
    }

    private func makeSpecial(_ kind: FileKind, _ status: stat, _ path: FilePath) throws {
        let isDevice = kind == .characterDevice || kind == .blockDevice
        // As the kernel keeps it: twenty bits of minor number.
        let major = UInt64(host_device_major(status.st_rdev))
        let device = isDevice ? major << 20 | UInt64(host_device_minor(status.st_rdev)) : 0
        try make(path) { () throws(FilesystemError) in
            try filesystem.makeSpecialFile(path, kind, device: device, FileAttributes(status))
        }
    }

    private func make(_ path: FilePath, _ body: () throws(FilesystemError) -> Void) throws {
        try about(path) { () throws(FilesystemError) in try filesystem.replacing(path, body) }
    }

    // MARK: regular files

    private func copyFile(_ name: [UInt8], in folder: HostFolder, to path: FilePath) throws {
        let file = try folder.file(name, O_RDONLY)
        guard let status = file.status() else { throw folder.error(name) }
        guard status.st_mode & S_IFMT == S_IFREG else { throw folder.error(name, EAGAIN) }
        if run.images.contains(FileID(status)) {
            throw HostError(path: folder.path(of: name), "is the image itself")
        }
        if status.st_nlink > 1, isLaterName(status, path) { return }
        let size = UInt64(status.st_size)
        let mayHaveHoles = size > filesystem.sectorSize && UInt64(status.st_blocks) * 512 < size
        let ranges = mayHaveHoles ? file.dataRanges(size: size) : [0..<size]
        guard size <= Self.wholeBytesMax, ranges == [0..<size] else {
            return try begin(file, folder.path(of: name), status, ranges, path)
        }
        let contents = unsafe UnsafeMutableRawBufferPointer(rebasing: buffer[..<Int(size)])
        guard let count = unsafe file.read(at: 0, into: contents) else { throw folder.error(name) }
        let bytes = unsafe UnsafeRawBufferPointer(rebasing: buffer[..<count])
        try make(path) { () throws(FilesystemError) in
            try unsafe filesystem.createFile(path, FileAttributes(status), contents: bytes)
        }
        try run.copyExtendedAttributes(.of(file.descriptor), to: path)
        run.counts.addFile(UInt64(count))
    }

    // MARK: large files, and those with holes

    private func begin(
        _ source: HostFile,
        _ sourcePath: String,
        _ status: stat,
        _ ranges: [Range<UInt64>],
        _ path: FilePath
    ) throws {
        let parts = self.parts(of: ranges, UInt64(status.st_size))
        let file = try about(path) { () throws(FilesystemError) in
            try filesystem.replacing(path) { () throws(FilesystemError) in
                try filesystem.createFile(path, FileAttributes(status))
            }
        }
        let large = LargeFile(source, sourcePath, path, file, status, parts: parts.count)
        run.didBegin(large)
        guard !parts.isEmpty else { return try end(large) }
        run.queue.addParts(parts.map { .part(large, $0) })
    }

    /// Ranges of whole sectors, none longer than an extent.
    private func parts(of ranges: [Range<UInt64>], _ size: UInt64) -> [Range<UInt64>] {
        let sector = filesystem.sectorSize
        var parts: [Range<UInt64>] = []
        for range in ranges {
            var start = max(range.lowerBound / sector * sector, parts.last?.upperBound ?? 0)
            let end = min(size, (range.upperBound + sector - 1) / sector * sector)
            while start < end {
                let next = min(end, start + Self.partBytesMax)
                parts.append(start..<next)
                start = next
            }
        }
        return parts
    }

    private func copyPart(of large: LargeFile, _ range: Range<UInt64>) throws {
        var failure: (any Error)?
        if !large.isFailed.isSet {
            do {
                try writePart(of: large, range)
            } catch {
                large.isFailed.set()
                failure = error
            }
        }
        let left = large.partsLeft.subtract(1, ordering: .acquiringAndReleasing).newValue
        // The error of the part says more than one of ending the file.
        do { if left == 0 { try end(large) } } catch { failure = failure ?? error }
        if let failure { throw failure }
    }

    private func writePart(of large: LargeFile, _ range: Range<UInt64>) throws {
        var failure: HostError?
        do {
            try about(large.path) { () throws(FilesystemError) in
                try unsafe large.file.write(
                    at: range.lowerBound,
                    length: range.upperBound - range.lowerBound
                ) { (offset, buffer) throws(FilesystemError) in
                    let count = unsafe large.source.read(at: offset, into: buffer)
                    guard count == buffer.count else {
                        failure =
                            count == nil
                            ? HostError(path: large.sourcePath, number: errno)
                            : HostError(path: large.sourcePath, "became shorter while it was read")
                        throw FilesystemError(.io, "source", "cannot be read")
                    }
                    run.counts.bytes.add(buffer.count, ordering: .relaxed)
                }
            }
        } catch {
            throw failure ?? error
        }
    }

    /// The last part is done: gives the file its size and times, or removes it.
    private func end(_ large: LargeFile) throws {
        if large.isFailed.isSet { return try run.discard(large) }
        try about(large.path) { () throws(FilesystemError) in
            if try large.file.metadata.size < large.size { try large.file.truncate(to: large.size) }
            try filesystem.setAttributes(of: large.path, large.attributes)
            try large.file.close()
        }
        try run.copyExtendedAttributes(.of(large.source.descriptor), to: large.path)
        run.didEnd(large)
        run.counts.files.add(1, ordering: .relaxed)
    }
}
