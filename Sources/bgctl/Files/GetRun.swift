//===-- GetRun.swift - one copy out of a file system: the walk -------------------------------------===//
// One thread walks the source and makes the folders; others copy what is in them (GetWorker.swift).
// A folder gets its mode and times when the last file in it is done.
//
// Two kinds of errors: what is wrong with one file of the image is said, and the file left out; what the
// machine cannot write ends the copy.

import BGDiskFormat
import BlockGroups
import Glibc
import HostFiles
import Synchronization

/// A folder that is being filled. When nobody fills it any more, it gets its attributes.
final class GetFolder: Sendable {
    let folder: HostFolder
    private let metadata: FileMetadata?
    private let counts: FileCounts

    /// - Parameter metadata: nil: it gets files, but keeps what it has itself.
    init(_ folder: HostFolder, _ metadata: FileMetadata?, _ counts: FileCounts) {
        self.folder = folder
        self.metadata = metadata
        self.counts = counts
    }

    deinit {
        guard let metadata else { return }
        do {
            try applyAttributes(metadata, to: folder.descriptor, folder.path)
        } catch let error as HostError {
            counts.skip(error.message)
        } catch {}
    }
}

/// Anything but a directory.
struct GetWork: Sendable {
    let path: FilePath
    let folder: GetFolder
    let name: [UInt8]
}

final class GetRun: Sendable {
    let filesystem: Filesystem
    let images: [String]
    let counts = FileCounts()
    let queue = WorkQueue<GetWork>(limit: 256)
    /// The first name of each inode that has several.
    let links = Mutex<[UInt64: [UInt8]]>([:])
    /// The images themselves, which may lie where something is to go.
    let imageFiles: Set<FileID>

    init(_ filesystem: Filesystem, _ images: [String]) {
        self.filesystem = filesystem
        self.images = images
        imageFiles = FileID.ofFiles(images)
    }

    /// - Throws: `ImageFileError` where nothing could be copied; `HostError`.
    func copy(_ source: FilePath, to destination: String, threads: Int) throws {
        let metadata = try about(source) { () throws(FilesystemError) in
            try filesystem.metadata(of: source)
        }
        let name = source.lastName
        let isContent = name == nil || name == [0x2e]
        let (folder, newName) = try target(destination, isContent ? nil : name)
        try copyWithThreads(threads, queue, counts) {
            GetWorker(self).work()
        } main: {
            guard metadata.kind == .directory else {
                guard let newName else {
                    throw HostError(path: destination, number: EISDIR)
                }
                let target = GetFolder(folder, nil, counts)
                _ = queue.add(GetWork(path: source, folder: target, name: newName))
                return
            }
            guard let newName else {
                // The folder itself is part of what is copied, as with cp.
                counts.addFolder()
                try copyExtendedAttributes(of: source, to: .of(folder.descriptor))
                return try walk(source, GetFolder(folder, metadata, counts))
            }
            try walk(source, try makeFolder(newName, in: folder, source, metadata))
        }
    }

    // MARK: where to

    /// The folder, and the new name in it; nil: the content goes into the folder itself.
    private func target(
        _ destination: String,
        _ name: [UInt8]?
    ) throws -> (HostFolder, [UInt8]?) {
        var status = stat()
        if unsafe stat(destination, &status) == 0, status.st_mode & S_IFMT == S_IFDIR {
            return (try HostFolder(destination), name)
        }
        let (name, slash) = lastName(of: destination)
        return (try HostFolder(parentOf: destination, slash), name)
    }

    private func makeFolder(
        _ name: [UInt8],
        in folder: HostFolder,
        _ path: FilePath,
        _ metadata: FileMetadata
    ) throws -> GetFolder {
        // Open to its owner alone until it gets its mode.
        let failed = unsafe withPath(name) { unsafe mkdirat(folder.descriptor, $0, 0o700) }
        guard failed == 0 || errno == EEXIST else { throw folder.error(name) }
        let made = try folder.folder(name)
        counts.addFolder()
        try copyExtendedAttributes(of: path, to: .of(made.descriptor))
        return GetFolder(made, metadata, counts)
    }

    // MARK: walking

    private func walk(_ path: FilePath, _ folder: GetFolder) throws {
        for entry in try entries(of: path, in: filesystem) {
            let inner = path.appending(entry.name)
            if entry.isSubvolume {
                counts.skip("\(shown(inner.bytes)): another subvolume begins here; left out")
                continue
            }
            guard entry.kind == .directory else {
                let work = GetWork(path: inner, folder: folder, name: entry.name)
                guard queue.add(work) else { return }
                continue
            }
            do {
                let metadata = try about(inner) { () throws(FilesystemError) in
                    try filesystem.metadata(of: inner)
                }
                let made = try makeFolder(entry.name, in: folder.folder, inner, metadata)
                try walk(inner, made)
            } catch let error as ImageFileError {
                counts.skip(error.message(images))
            }
        }
    }

    /// Copies all that the file has; what this machine does not let one set is left out.
    func copyExtendedAttributes(of path: FilePath, to attributes: HostAttributes) throws {
        let names = try about(path) { () throws(FilesystemError) in
            try filesystem.extendedAttributeNames(of: path)
        }
        for name in names {
            let value = try about(path) { () throws(FilesystemError) in
                try filesystem.extendedAttribute(name, of: path)
            }
            guard !attributes.set(name, to: value) else { continue }
            let number = errno
            if number == EPERM || number == EOPNOTSUPP { continue }
            counts.skip("\(shown(path.bytes)): attribute \(shown(name)): \(errorText(number))")
        }
    }
}

/// Owner (for root), mode and times of an open file.
func applyAttributes(_ metadata: FileMetadata, to descriptor: CInt, _ path: String) throws {
    // The owner first: changing it takes set-user-ID bits away.
    if geteuid() == 0, fchown(descriptor, metadata.owner, metadata.group) != 0 {
        throw HostError(path: path, number: errno)
    }
    guard fchmod(descriptor, metadata.permissions) == 0 else {
        throw HostError(path: path, number: errno)
    }
    let times = [timespec(metadata.accessTime), timespec(metadata.modificationTime)]
    guard unsafe futimens(descriptor, times) == 0 else {
        throw HostError(path: path, number: errno)
    }
}
