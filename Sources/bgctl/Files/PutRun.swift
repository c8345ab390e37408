//===-- PutRun.swift - one copy into a file system: the walk ---------------------------------------===//
// One thread walks the source and makes the directories; others copy what is in them (PutWorker.swift).
// What needs all files to be there comes last: further names of files, and the times of directories.
//
// Two kinds of errors: what is wrong with one source file is said, and the file left out; what is wrong
// with the file system ends the copy.
//
// Locks: `links` and `unfinished` as they say; the rest is the walker's, or never changes.

import BGDiskFormat
import BlockGroups
import Glibc
import HostFiles
import Synchronization

/// What is to be copied: a name in a folder.
struct PutSource {
    let folder: HostFolder
    let name: [UInt8]
    let status: stat
    /// What is in it goes to the destination itself: it was named by "." or the like.
    let isContent: Bool

    /// - Throws: `HostError`
    init(_ path: String) throws {
        let (last, slash) = lastName(of: path)
        isContent = last == [] || last == [0x2e] || last == [0x2e, 0x2e]
        if isContent {
            folder = try HostFolder(path)
            name = [0x2e]
        } else {
            // A link on the way is followed, one at the end copied.
            folder = try HostFolder(parentOf: path, slash)
            name = last
        }
        status = try folder.status(of: name)
    }
}

/// What a worker does next.
enum PutWork: Sendable {
    /// Anything but a directory.
    /// The type is DT_UNKNOWN where the folder does not tell.
    case entry(HostFolder, name: [UInt8], type: UInt8, FilePath)
    /// A part of a large file that is being copied.
    case part(LargeFile, Range<UInt64>)
}

final class PutRun: Sendable {
    let filesystem: Filesystem
    let counts = FileCounts()
    let queue = WorkQueue<PutWork>(limit: 256)
    /// By inode: the first name of each file that has several, and the names that are to follow.
    let links = Mutex<(first: [FileID: FilePath], later: [(new: FilePath, old: FilePath)])>(
        ([:], [])
    )
    /// Large files that are not whole yet.
    private let unfinished = Mutex<[[UInt8]: LargeFile]>([:])
    /// The images themselves, which may lie in what is copied.
    let images: Set<FileID>

    init(_ filesystem: Filesystem, _ paths: [String]) throws {
        self.filesystem = filesystem
        images = FileID.ofFiles(paths)
    }

    /// - Throws: `ImageFileError`; `HostError` where nothing could be copied.
    func copy(_ source: PutSource, to destination: FilePath, threads: Int) throws {
        let target = try target(of: source, destination)
        guard source.status.st_mode & S_IFMT == S_IFDIR else {
            try copyOne(source, to: target, threads)
            return
        }
        var folders: [(FilePath, FileAttributes)] = []
        let top = try source.folder.folder(source.name)
        try runThreads(threads) {
            try walk(top, source.status, to: target, &folders)
        }
        try finish(folders)
    }

    /// A single file; a large one is still copied by all threads.
    private func copyOne(_ source: PutSource, to target: FilePath, _ threads: Int) throws {
        try runThreads(threads) {
            _ = queue.add(
                .entry(source.folder, name: source.name, type: UInt8(DT_UNKNOWN), target)
            )
        }
        try finish([])
    }

    private func runThreads(_ threads: Int, main: () throws -> Void) throws {
        do {
            try copyWithThreads(threads, queue, counts, { PutWorker(self).work() }, main: main)
        } catch {
            for large in unfinished.withLock({ [LargeFile]($0.values) }) {
                // It cannot be removed where the file system turned read-only.
                do { try discard(large) } catch {}
            }
            throw error
        }
    }

    func didBegin(_ large: LargeFile) {
        unfinished.withLock { $0[large.path.bytes] = large }
    }

    func didEnd(_ large: LargeFile) {
        unfinished.withLock { $0[large.path.bytes] = nil }
    }

    /// Removes a file that does not become whole.
    func discard(_ large: LargeFile) throws {
        didEnd(large)
        try about(large.path) { () throws(FilesystemError) in
            try large.file.close()
            try filesystem.removeFile(large.path)
        }
    }

    // MARK: where to

    private func target(of source: PutSource, _ destination: FilePath) throws -> FilePath {
        let kind = try about(destination) { () throws(FilesystemError) -> FileKind? in
            do throws(FilesystemError) {
                return try filesystem.metadata(of: destination).kind
            } catch {
                guard error.code == .notFound else { throw error }
                return nil
            }
        }
        if kind == .directory {
            return source.isContent ? destination : destination.appending(source.name)
        }
        if kind == nil, destination.bytes.last == 0x2f,
            source.status.st_mode & S_IFMT != S_IFDIR
        {
            throw Failure("\(shown(destination.bytes)): there is no such directory")
        }
        return destination
    }

    // MARK: walking

    private func walk(
        _ folder: HostFolder,
        _ status: stat,
        to path: FilePath,
        _ folders: inout [(FilePath, FileAttributes)]
    ) throws {
        let attributes = FileAttributes(status)
        try about(path) { () throws(FilesystemError) in try makeFolder(path, attributes) }
        try copyExtendedAttributes(.of(folder.descriptor), to: path)
        folders.append((path, attributes.times))
        counts.addFolder()
        let entries: [(name: [UInt8], type: UInt8)]
        do { entries = try folder.names() } catch let error as HostError {
            return counts.skip(error.message)
        }
        for entry in entries {
            let target = path.appending(entry.name)
            do {
                if try isFolder(entry.name, entry.type, in: folder) {
                    let inner = try folder.folder(entry.name)
                    try walk(inner, inner.status(), to: target, &folders)
                    continue
                }
            } catch let error as HostError {
                counts.skip(error.message)
                continue
            }
            guard queue.add(.entry(folder, name: entry.name, type: entry.type, target)) else {
                return
            }
        }
    }

    private func isFolder(_ name: [UInt8], _ type: UInt8, in folder: HostFolder) throws -> Bool {
        guard Int(type) == DT_UNKNOWN else { return Int(type) == DT_DIR }
        return try folder.status(of: name).st_mode & S_IFMT == S_IFDIR
    }

    /// Makes a directory, or gives one that is there these attributes.
    private func makeFolder(
        _ path: FilePath,
        _ attributes: FileAttributes
    ) throws(FilesystemError) {
        do throws(FilesystemError) {
            return try filesystem.makeDirectory(path, attributes)
        } catch {
            guard error.code == .exists else { throw error }
        }
        guard try filesystem.metadata(of: path).kind == .directory else {
            throw FilesystemError(.exists, "path", "is not a directory")
        }
        try filesystem.setAttributes(of: path, attributes)
    }

    // MARK: the end

    private func finish(_ folders: [(FilePath, FileAttributes)]) throws {
        for link in links.withLock({ $0.later }) {
            try about(link.new) { () throws(FilesystemError) in
                do throws(FilesystemError) {
                    try filesystem.replacing(link.new) { () throws(FilesystemError) in
                        try filesystem.makeHardLink(link.new, to: link.old)
                    }
                    counts.addOther()
                } catch {
                    guard error.code == .notFound else { throw error }
                    counts.skip("\(shown(link.new.bytes)): its other name could not be copied")
                }
            }
        }
        // Whatever was made in a directory has changed its times.
        for (path, times) in folders {
            try about(path) { () throws(FilesystemError) in
                try filesystem.setAttributes(of: path, times)
            }
        }
    }

    // MARK: extended attributes

    /// Copies all of a file's.
    func copyExtendedAttributes(_ attributes: HostAttributes, to path: FilePath) throws {
        for name in attributes.names {
            guard let value = attributes.value(of: name) else { continue }
            do throws(FilesystemError) {
                try filesystem.setExtendedAttribute(name, of: path, to: value)
            } catch {
                let failure = ImageFileError(path: path, error: error)
                guard failure.isOfOneFile else { throw failure }
                counts.skip("\(failure.message([])) (attribute \(shown(name)))")
            }
        }
    }
}

extension Filesystem {
    /// Calls `body`, which makes a file; one that is there already is removed first.
    func replacing<Result>(
        _ path: FilePath,
        _ body: () throws(FilesystemError) -> Result
    ) throws(FilesystemError) -> Result {
        do throws(FilesystemError) {
            return try body()
        } catch {
            guard error.code == .exists else { throw error }
        }
        try removeFile(path)
        return try body()
    }
}
