//===-- Workload.swift - files made, changed and removed at random, and what must be there -----------===//
// For crash, fault and model tests: a file system's content as a test believes it to be, the same read
// from a file system, and a worker that changes both, one call at a time.
//
// The same seed makes the same calls as long as none fails.
//===-------------------------------------------------------------------------------------------===//

import BGDevices
import BGDiskFormat
import BGTestSupport
import Testing

@testable import BlockGroups

/// Folders and regular files under a path, with every byte.
struct TreeModel: Equatable {
    var files: [String: [UInt8]] = [:]
    var folders: Set<String> = []

    init() {}

    /// By memcmp: comparing arrays byte by byte takes most of a debug run.
    static func == (one: TreeModel, other: TreeModel) -> Bool {
        guard one.folders == other.folders, one.files.count == other.files.count else {
            return false
        }
        return one.files.allSatisfy { path, bytes in
            guard let its = other.files[path] else { return false }
            return bytes.count == its.count && beginAlike(bytes, its)
        }
    }

    /// What a file system has now.
    ///
    /// - Parameter skipped: a path that is passed over.
    init(
        reading filesystem: Filesystem,
        under path: String = "",
        but skipped: String = ""
    ) throws(FilesystemError) {
        try add(filesystem, path, skipped)
    }

    private mutating func add(
        _ filesystem: Filesystem,
        _ folder: String,
        _ skipped: String
    ) throws(FilesystemError) {
        var entries: [DirectoryEntry] = []
        try filesystem.list(FilePath("/" + folder)) { (entry) throws(FilesystemError) in
            entries.append(entry)
            return true
        }
        for entry in entries {
            let name = String(decoding: entry.name, as: UTF8.self)
            let path = folder.isEmpty ? name : folder + "/" + name
            if path == skipped { continue }
            if entry.kind == .directory {
                folders.insert(path)
                try add(filesystem, path, skipped)
            } else {
                let file = try filesystem.openFile(FilePath(path))
                files[path] = try file.contents()
                try file.close()
            }
        }
    }

    /// One line: the first differences.
    func difference(_ other: TreeModel) -> String {
        var words: [String] = []
        for path in folders.symmetricDifference(other.folders).sorted() {
            words.append("folder \(path) \(folders.contains(path) ? "missing" : "too many")")
        }
        for path in Set(files.keys).union(other.files.keys).sorted()
        where files[path] != other.files[path] {
            guard let mine = files[path] else {
                words.append("\(path) too many")
                continue
            }
            guard let its = other.files[path] else {
                words.append("\(path) missing")
                continue
            }
            let place = zip(mine, its).enumerated().first { $0.element.0 != $0.element.1 }?.offset
            words.append(
                "\(path): \(its.count) bytes, not \(mine.count); differs at \(place.map(String.init) ?? "-")"
            )
        }
        return words.isEmpty ? "same" : words.prefix(5).joined(separator: "; ")
    }
}

extension File {
    func contents() throws(FilesystemError) -> [UInt8] {
        let size = Int(try metadata.size)
        var bytes = [UInt8](repeating: 0xee, count: size)
        var failure: FilesystemError?
        bytes.withUnsafeMutableBytes { buffer in
            do throws(FilesystemError) {
                let count = try read(at: 0, into: buffer)
                if count != size { failure = FilesystemError(.io, "file", "was read short") }
            } catch {
                failure = error
            }
        }
        if let failure { throw failure }
        return bytes
    }

    func write(at offset: Int, _ bytes: [UInt8]) throws(FilesystemError) {
        try bytes.withUnsafeBytesThrowing { buffer throws(FilesystemError) in
            try write(at: UInt64(offset), from: buffer)
        }
    }
}

/// Opens devices that a test made.
func openFilesystem(
    _ devices: [MemoryDevice],
    readOnly: Bool = true
) throws(FilesystemError) -> Filesystem {
    try Filesystem(Volume(devices: devices), readOnly: readOnly)
}

/// One thread's work in a folder of its own.
final class Workload {
    let filesystem: Filesystem
    let folder: String
    var random: SeededGenerator
    /// Largest write, bytes.
    var writeBytesMax = 60_000
    /// What the folder must hold.
    private(set) var model = TreeModel()
    /// What it holds as well if the call that failed last took effect.
    private(set) var intended: TreeModel?
    /// After each call that succeeded.
    var didChange: (TreeModel) -> Void = { _ in }
    private var number = 0

    /// Makes the folder.
    init(_ filesystem: Filesystem, folder: String, seed: UInt64) throws(FilesystemError) {
        self.filesystem = filesystem
        self.folder = folder
        random = SeededGenerator(state: seed)
        try filesystem.makeDirectory(FilePath(folder))
        model.folders.insert(folder)
    }

    /// What the file system holds in the folder.
    func found() throws(FilesystemError) -> TreeModel {
        var model = try TreeModel(reading: filesystem, under: folder)
        model.folders.insert(folder)
        return model
    }

    /// After a failure: believe what is there.
    func accept(_ found: TreeModel) {
        model = found
        intended = nil
    }

    /// One to three calls.
    func step() throws(FilesystemError) {
        let paths = model.files.keys.sorted()
        guard let path = paths.randomElement(using: &random) else { return try create() }
        switch Int.random(in: 0..<100, using: &random) {
        case 0..<28: try create()
        case 28..<35: try createWhole()
        case 35..<50: try overwrite(path)
        case 50..<58: try append(path)
        case 58..<66: try truncate(path)
        case 66..<72: try attach(path)
        case 72..<81: try remove(path)
        case 81..<85: try removeOpen(path)
        case 85..<86: try removeGroups()
        case 86..<90: try rename(path, to: newPath())
        case 90..<93: try rename(path, to: paths.randomElement(using: &random)!)
        case 93..<97: try makeFolder()
        default: try removeFolder()
        }
    }

    private func newPath() -> String {
        number += 1
        let folders = model.folders.sorted()
        return folders.randomElement(using: &random)! + "/n\(number)"
    }

    /// Bytes that are nowhere else.
    private func data(_ count: Int) -> [UInt8] {
        pattern(random.next(), count: (count + 7) / 8 * 8).prefix(count).map { $0 }
    }

    private func size() -> Int {
        switch Int.random(in: 0..<10, using: &random) {
        case 0: 0
        case 1..<4: Int.random(in: 1...2000, using: &random)
        case 4..<8: Int.random(in: 2000...min(20_000, writeBytesMax), using: &random)
        default: Int.random(in: 1...writeBytesMax, using: &random)
        }
    }

    /// Makes a call that turns the folder into `new`.
    private func call(
        _ new: TreeModel,
        _ body: () throws(FilesystemError) -> Void
    ) throws(FilesystemError) {
        intended = new
        try body()
        model = new
        intended = nil
        didChange(new)
    }

    private func create() throws(FilesystemError) {
        let path = newPath()
        var new = model
        new.files[path] = []
        var made: File?
        try call(new) { () throws(FilesystemError) in
            made = try filesystem.createFile(FilePath(path))
        }
        let bytes = data(size())
        try write(made!, path, at: 0, bytes)
        try made!.close()
    }

    /// With its contents, in one call.
    private func createWhole() throws(FilesystemError) {
        let path = newPath()
        let bytes = data(size())
        var new = model
        new.files[path] = bytes
        try call(new) { () throws(FilesystemError) in
            try bytes.withUnsafeBytesThrowing { buffer throws(FilesystemError) in
                try filesystem.createFile(FilePath(path), contents: buffer)
            }
        }
    }

    private func write(
        _ file: File,
        _ path: String,
        at offset: Int,
        _ bytes: [UInt8]
    ) throws(FilesystemError) {
        guard !bytes.isEmpty else { return }
        var new = model
        var content = new.files[path]!
        if content.count < offset + bytes.count {
            content += [UInt8](repeating: 0, count: offset + bytes.count - content.count)
        }
        content.replaceSubrange(offset..<offset + bytes.count, with: bytes)
        new.files[path] = content
        try call(new) { () throws(FilesystemError) in try file.write(at: offset, bytes) }
    }

    private func overwrite(_ path: String) throws(FilesystemError) {
        let file = try filesystem.openFile(FilePath(path))
        let offset = Int.random(in: 0...model.files[path]!.count + 10_000, using: &random)
        try write(file, path, at: offset, data(size()))
        try file.close()
    }

    private func append(_ path: String) throws(FilesystemError) {
        let file = try filesystem.openFile(FilePath(path))
        try write(file, path, at: model.files[path]!.count, data(size()))
        try file.close()
    }

    private func truncate(_ path: String) throws(FilesystemError) {
        let old = model.files[path]!
        let count = Int.random(in: 0...old.count + 5000, using: &random)
        var new = model
        new.files[path] = Array(old.prefix(count))
        if count > old.count {
            new.files[path]! += [UInt8](repeating: 0, count: count - old.count)
        }
        let file = try filesystem.openFile(FilePath(path))
        try call(new) { () throws(FilesystemError) in try file.truncate(to: UInt64(count)) }
        try file.close()
    }

    /// Claims, writes past the file, and gives the claim to the file.
    private func attach(_ path: String) throws(FilesystemError) {
        let length = 4096 * Int.random(in: 1...8, using: &random)
        let offset = 4096 * Int.random(in: 0...10, using: &random)
        let bytes = data(length)
        var new = model
        var content = new.files[path]!
        if content.count < offset + length {
            content += [UInt8](repeating: 0, count: offset + length - content.count)
        }
        content.replaceSubrange(offset..<offset + length, with: bytes)
        new.files[path] = content
        let file = try filesystem.openFile(FilePath(path))
        let claim = try filesystem.claimData(length: UInt64(length))
        do throws(FilesystemError) {
            try filesystem.write(claim.logical, bytes)
        } catch {
            claim.giveBack()
            throw error
        }
        let extent = claim.commit()
        do throws(FilesystemError) {
            try call(new) { () throws(FilesystemError) in
                try file.attach(extent, at: UInt64(offset))
            }
        } catch {
            do throws(AllocationError) { try filesystem.allocator.giveBack(extent) } catch {}
            throw error
        }
        try file.close()
    }

    private func remove(_ path: String) throws(FilesystemError) {
        var new = model
        new.files[path] = nil
        try call(new) { () throws(FilesystemError) in try filesystem.removeFile(FilePath(path)) }
    }

    /// While it is open, and so still there for who has it.
    private func removeOpen(_ path: String) throws(FilesystemError) {
        let file = try filesystem.openFile(FilePath(path))
        let bytes = model.files[path]
        try remove(path)
        #expect(try file.contents() == bytes)
        try file.close()
    }

    /// Takes away what groups are empty just now.
    private func removeGroups() throws(FilesystemError) {
        for record in filesystem.source.records {
            do throws(FilesystemError) {
                try filesystem.removeEmptyGroup(at: record.logical)
            } catch {
                guard error.code == .busy || error.code == .notFound else { throw error }
            }
        }
    }

    /// In place of what has that name.
    private func rename(_ path: String, to target: String) throws(FilesystemError) {
        guard path != target else { return }
        var new = model
        new.files[target] = new.files.removeValue(forKey: path)
        try call(new) { () throws(FilesystemError) in
            try filesystem.rename(FilePath(path), to: FilePath(target))
        }
    }

    private func makeFolder() throws(FilesystemError) {
        let path = newPath()
        var new = model
        new.folders.insert(path)
        try call(new) { () throws(FilesystemError) in try filesystem.makeDirectory(FilePath(path)) }
    }

    private func removeFolder() throws(FilesystemError) {
        let empty = model.folders.sorted().first { path in
            path != folder && !model.files.keys.contains { $0.hasPrefix(path + "/") }
                && !model.folders.contains { $0.hasPrefix(path + "/") }
        }
        guard let empty else { return try makeFolder() }
        var new = model
        new.folders.remove(empty)
        try call(new) { () throws(FilesystemError) in
            try filesystem.removeDirectory(FilePath(empty))
        }
    }
}

// MARK: what must hold of a file system

/// Every fault that our checker finds, in words.
func faults(_ devices: [MemoryDevice]) throws(FilesystemError) -> [String] {
    var found: [String] = []
    var options = CheckOptions()
    options.verifiesData = true
    options.readsAllCopies = true
    _ = try Filesystem.check(Volume(devices: devices), options, { _ in true }) { fault in
        guard !fault.isRemark else { return }
        var text: [UInt8] = []
        fault.append(to: &text)
        found.append(String(decoding: text, as: UTF8.self))
    }
    return found
}

/// What the judge complains of in a file system; nothing: nil.
///
/// - Parameter kernel: have the kernel mount and change it, too, where it can be asked.
func complaint(_ devices: [MemoryDevice], kernel: Bool = false) throws -> String? {
    let folder = try TemporaryFolder()
    let paths = devices.indices.map { folder.path("device\($0)") }
    for (device, path) in zip(devices, paths) { try device.save(to: path) }
    let words = kernel ? [] : ["--no-kernel"]
    let outcome = try Judge.run("judge", words + paths)
    return outcome.status == 0 ? nil : outcome.output
}

/// Bytes that are free and claimed in all groups.
func space(_ filesystem: Filesystem) throws -> (free: UInt64, claimed: UInt64) {
    try filesystem.cacheFreeSpace()
    var free: UInt64 = 0
    var claimed: UInt64 = 0
    filesystem.allocator.forEachGroup { group in
        free += group.statistics.freeBytes
        claimed += group.statistics.claimedBytes
        return true
    }
    return (free, claimed)
}
