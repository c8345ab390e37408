//===-- GetWorker.swift - a thread that copies files out of a file system --------------------------===//
// What is there by the same name is removed first, and every file made anew: nothing is written through
// a link. One that does not become whole is removed.

import BGDiskFormat
import BlockGroups
import Glibc
import HostFiles
import Synchronization

/// By the name that a file was to get there is one of the images.
private struct TargetIsImage: Error {
    let path: String
}

@safe
final class GetWorker {
    private static let pieceBytes = 1 << 20

    private let run: GetRun
    private let buffer: UnsafeMutableRawBufferPointer

    private var filesystem: Filesystem { run.filesystem }

    init(_ run: GetRun) {
        self.run = run
        unsafe buffer = .allocate(byteCount: Self.pieceBytes, alignment: 4096)
    }

    deinit { unsafe buffer.deallocate() }

    func work() {
        run.queue.work { item in
            do {
                try copy(item)
            } catch let error as ImageFileError {
                run.counts.skip(error.message(run.images))
            } catch let error as TargetIsImage {
                run.counts.skip("\(error.path): is the image itself")
            } catch {
                run.queue.stop(error)
            }
        }
    }

    private func copy(_ item: GetWork) throws {
        let metadata = try about(item.path) { () throws(FilesystemError) in
            try filesystem.metadata(of: item.path)
        }
        guard metadata.linkCount > 1 else {
            guard let file = try make(item, metadata) else { return }
            return try fill(file, item, metadata)
        }
        // The other names wait until there is a first to link to.
        var file: HostFile?
        let isLater = try run.links.withLock { links in
            if let first = links[metadata.inode] {
                try link(item, to: first)
                return true
            }
            file = try make(item, metadata)
            links[metadata.inode] = item.folder.folder.pathBytes(of: item.name)
            return false
        }
        if isLater { return run.counts.addOther() }
        if let file { try fill(file, item, metadata) }
    }

    /// - Throws: `TargetIsImage`, so that nothing is copied in the place of what it is copied from.
    private func removeOld(_ item: GetWork) throws {
        let folder = item.folder.folder
        var status = stat()
        let found = unsafe withPath(item.name) {
            unsafe fstatat(folder.descriptor, $0, &status, AT_SYMLINK_NOFOLLOW)
        }
        if found != 0, errno == ENOENT { return }
        if found == 0, run.imageFiles.contains(FileID(status)) {
            throw TargetIsImage(path: folder.path(of: item.name))
        }
        let failed = unsafe withPath(item.name) { unsafe unlinkat(folder.descriptor, $0, 0) }
        guard failed == 0 || errno == ENOENT else { throw folder.error(item.name) }
    }

    private func link(_ item: GetWork, to first: [UInt8]) throws {
        try removeOld(item)
        let folder = item.folder.folder
        let failed = unsafe withPath(first) { first in
            unsafe withPath(item.name) { name in
                unsafe linkat(AT_FDCWD, first, folder.descriptor, name, 0)
            }
        }
        guard failed == 0 else { throw folder.error(item.name) }
    }

    // MARK: by kind

    /// Makes the file: an empty regular one is returned; anything else is done then.
    private func make(_ item: GetWork, _ metadata: FileMetadata) throws -> HostFile? {
        try removeOld(item)
        let folder = item.folder.folder
        switch metadata.kind {
        case .regular:
            return try folder.file(item.name, O_WRONLY | O_CREAT | O_EXCL, mode: 0o600)
        case .symbolicLink:
            let target = try about(item.path) { () throws(FilesystemError) in
                try filesystem.symbolicLinkTarget(of: item.path)
            }
            let failed = unsafe withPath(target) { target in
                unsafe withPath(item.name) { unsafe symlinkat(target, folder.descriptor, $0) }
            }
            guard failed == 0 else { throw folder.error(item.name) }
        case .directory:
            throw folder.error(item.name, EISDIR)
        case .fifo, .socket, .characterDevice, .blockDevice:
            // Twenty bits of minor number, as the kernel keeps it.
            let device = host_device(
                UInt32(truncatingIfNeeded: metadata.deviceMajor),
                UInt32(truncatingIfNeeded: metadata.deviceMinor)
            )
            let mode = metadata.kind.modeBits | 0o600
            let failed = unsafe withPath(item.name) {
                unsafe mknodat(folder.descriptor, $0, mode, device)
            }
            if failed != 0, errno == EPERM {
                run.counts.skip(folder.error(item.name).message)
                return nil
            }
            guard failed == 0 else { throw folder.error(item.name) }
        }
        try applyAttributesByName(metadata, item)
        run.counts.addOther()
        return nil
    }

    /// Owner, mode and times of what cannot be opened.
    private func applyAttributesByName(_ metadata: FileMetadata, _ item: GetWork) throws {
        let folder = item.folder.folder
        try unsafe withPath(item.name) { name in
            if geteuid() == 0 {
                let failed = unsafe fchownat(
                    folder.descriptor,
                    name,
                    metadata.owner,
                    metadata.group,
                    AT_SYMLINK_NOFOLLOW
                )
                guard failed == 0 else { throw folder.error(item.name) }
            }
            // Links have no mode of their own.
            if metadata.kind != .symbolicLink {
                let failed = unsafe fchmodat(folder.descriptor, name, metadata.permissions, 0)
                guard failed == 0 else { throw folder.error(item.name) }
            }
        }
        try run.copyExtendedAttributes(
            of: item.path,
            to: HostAttributes(of: item.name, in: folder)
        )
        let times = [timespec(metadata.accessTime), timespec(metadata.modificationTime)]
        let failed = unsafe withPath(item.name) {
            unsafe utimensat(folder.descriptor, $0, times, AT_SYMLINK_NOFOLLOW)
        }
        guard failed == 0 else { throw folder.error(item.name) }
    }

    // MARK: regular files

    private func fill(_ target: HostFile, _ item: GetWork, _ metadata: FileMetadata) throws {
        do {
            try copyContents(of: item, to: target, metadata.size)
            try run.copyExtendedAttributes(of: item.path, to: .of(target.descriptor))
        } catch {
            do { try removeOld(item) } catch {}
            throw error
        }
        let folder = item.folder.folder
        try applyAttributes(metadata, to: target.descriptor, folder.path(of: item.name))
        run.counts.files.add(1, ordering: .relaxed)
    }

    private func copyContents(
        of item: GetWork,
        to target: HostFile,
        _ size: UInt64
    ) throws {
        let folder = item.folder.folder
        let file = try about(item.path) { () throws(FilesystemError) in
            try filesystem.openFile(item.path)
        }
        var offset: UInt64 = 0
        while let data = try about(
            item.path,
            { () throws(FilesystemError) in try file.nextData(atOrAbove: offset) }
        ) {
            offset = data.lowerBound
            while offset < data.upperBound {
                let length = Int(min(UInt64(Self.pieceBytes), data.upperBound - offset))
                let piece = unsafe UnsafeMutableRawBufferPointer(rebasing: buffer[..<length])
                let count = try about(item.path) { () throws(FilesystemError) in
                    try unsafe file.read(at: offset, into: piece)
                }
                guard count == length else {
                    let short = FilesystemError(.corrupt, "file", "ends inside an extent")
                    throw ImageFileError(path: item.path, error: short)
                }
                let bytes = unsafe UnsafeRawBufferPointer(rebasing: buffer[..<count])
                guard unsafe target.write(at: offset, from: bytes) else {
                    throw folder.error(item.name)
                }
                offset += UInt64(count)
                run.counts.bytes.add(count, ordering: .relaxed)
            }
        }
        if offset < size, ftruncate(target.descriptor, off_t(size)) != 0 {
            throw folder.error(item.name)
        }
        try about(item.path) { () throws(FilesystemError) in try file.close() }
    }
}
