// A file system of plain arrays beside a real one: random calls go to both, and both must answer the
// same. Knows nothing of the disk; FileModelTests lets the referees look at that.

import BGTestSupport
import BGDiskFormat
import BGTestSupport
import BlockGroups
import Foundation

struct ModelFailure: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}

final class ModelInode {
    var bytes: [UInt8] = []
    var names = 1
    var attributes: [String: [UInt8]] = [:]
}

enum ModelEntry {
    case file(ModelInode)
    case directory
    case symbolicLink(String)
}

final class FileModel {
    /// Every path; the top directory is "".
    private var entries: [String: ModelEntry] = ["": .directory]
    /// As of the last commit.
    private var committed: [String: ModelEntry] = ["": .directory]
    private var open: [(file: File, inode: ModelInode)] = []
    private var filesystem: Filesystem
    private var random: SeededGenerator
    private(set) var step = 0
    /// Names to choose from: among them pairs of the same hash, and the longest.
    private let names: [String]
    private let bytesMax: Int

    init(_ filesystem: Filesystem, _ random: SeededGenerator, bytesMax: Int = 400_000) {
        self.filesystem = filesystem
        self.random = random
        self.bytesMax = bytesMax
        names =
            (0..<12).map { "n\($0)" } + FileModel.sameHash + [
                String(repeating: "x", count: 255), "käse",
            ]
    }

    /// Names that share a DIR_ITEM, found by trying.
    static let sameHash: [String] = {
        var seen: [UInt64: String] = [:]
        var found: [String] = []
        var number = 0
        while found.count < 4 {
            let name = "c\(number)"
            let hash = NameHash.directoryItem([UInt8](name.utf8))
            if let other = seen[hash] { found += [other, name] }
            seen[hash] = name
            number += 1
        }
        return found
    }()

    private func fail(_ what: String) -> ModelFailure { ModelFailure("step \(step): \(what)") }

    // MARK: steps

    func run(steps: Int) throws {
        for _ in 0..<steps {
            step += 1
            do {
                try oneStep()
            } catch let error as FilesystemError {
                throw fail("refused: \(error.message)")
            }
        }
    }

    private func oneStep() throws {
        switch Int.random(in: 0..<100, using: &random) {
        case 0..<12: try create()
        case 12..<40: try write()
        case 40..<50: try truncate()
        case 50..<60: try remove()
        case 60..<65: try rename()
        case 65..<69: try link()
        case 69..<74: try makeDirectory()
        case 74..<77: try makeSymbolicLink()
        case 77..<80: try attribute()
        case 80..<84: try attach()
        case 84..<88: try closeOne()
        case 88..<96: try readSome()
        case 96..<98: try commit()
        default: try compareOne()
        }
    }

    private func pickDirectory() -> String {
        let all = entries.filter { if case .directory = $0.value { true } else { false } }
        return all.keys.sorted().randomElement(using: &random)!
    }

    private func newPath() -> String {
        pickDirectory() + "/" + names.randomElement(using: &random)!
    }

    private func pickFile() -> (String, ModelInode)? {
        let all = entries.compactMap { path, entry -> (String, ModelInode)? in
            if case .file(let inode) = entry { (path, inode) } else { nil }
        }
        return all.sorted { $0.0 < $1.0 }.randomElement(using: &random)
    }

    /// An open file, one more opened now and then.
    private func pickOpen() throws -> (file: File, inode: ModelInode)? {
        if open.isEmpty || (open.count < 8 && Int.random(in: 0..<4, using: &random) == 0) {
            guard let (path, inode) = pickFile() else { return nil }
            open.append((try filesystem.openFile(FilePath(path)), inode))
            return open[open.count - 1]
        }
        return open.randomElement(using: &random)
    }

    private func expect(
        _ code: FilesystemError.Code,
        _ what: String,
        _ body: () throws -> Void
    ) throws {
        do {
            try body()
        } catch let error as FilesystemError {
            guard error.code == code else { throw fail("\(what): \(error.message)") }
            return
        }
        throw fail("\(what): was not refused")
    }

    private func create() throws {
        let path = newPath()
        guard entries[path] == nil else {
            return try expect(.exists, "create \(path)") {
                _ = try filesystem.createFile(FilePath(path))
            }
        }
        let inode = ModelInode()
        entries[path] = .file(inode)
        if Bool.random(using: &random) {
            let bytes = someBytes(upTo: 6000)
            inode.bytes = bytes
            try bytes.withUnsafeBytes {
                try filesystem.createFile(FilePath(path), contents: $0)
            }
        } else {
            open.append((try filesystem.createFile(FilePath(path)), inode))
        }
    }

    private func someBytes(upTo limit: Int) -> [UInt8] {
        let count =
            Bool.random(using: &random)
            ? Int.random(in: 1...min(limit, 3000), using: &random)
            : Int.random(in: 1...limit, using: &random)
        let first = UInt8.random(in: 1...255, using: &random)
        return (0..<count).map { first &+ UInt8(truncatingIfNeeded: $0 &* 7 &+ $0 >> 8) }
    }

    private func someOffset(_ inode: ModelInode) -> Int {
        switch Int.random(in: 0..<6, using: &random) {
        case 0: inode.bytes.count
        case 1: Int.random(in: 0...bytesMax, using: &random) / 4096 * 4096
        case 2: 0
        default: Int.random(in: 0...max(inode.bytes.count, 1), using: &random)
        }
    }

    private func write() throws {
        guard let (file, inode) = try pickOpen() else { return }
        let offset = someOffset(inode)
        let bytes = someBytes(upTo: 200_000)
        try bytes.withUnsafeBytes { try file.write(at: UInt64(offset), from: $0) }
        inode.put(bytes, at: offset)
    }

    private func truncate() throws {
        guard let (file, inode) = try pickOpen() else { return }
        let size = someOffset(inode)
        try file.truncate(to: UInt64(size))
        inode.bytes =
            size <= inode.bytes.count
            ? Array(inode.bytes[..<size])
            : inode.bytes + [UInt8](repeating: 0, count: size - inode.bytes.count)
    }

    private func attach() throws {
        guard let (file, inode) = try pickOpen() else { return }
        let sectors = Int.random(in: 1...20, using: &random)
        let claim = try filesystem.claimData(length: UInt64(sectors) * 4096)
        var bytes = someBytes(upTo: sectors * 4096)
        bytes += [UInt8](repeating: 9, count: sectors * 4096 - bytes.count)
        do {
            try bytes.withUnsafeBytes { try filesystem.write(logical: claim.logical, from: $0) }
        } catch {
            claim.giveBack()
            throw error
        }
        let offset = someOffset(inode) / 4096 * 4096
        try file.attach(claim, at: UInt64(offset))
        inode.put(bytes, at: offset)
    }

    private func remove() throws {
        let path = entries.keys.sorted().randomElement(using: &random)!
        switch entries[path]! {
        case .directory where path.isEmpty:
            try expect(.busy, "rmdir /") { try filesystem.removeDirectory("/") }
        case .directory:
            try expect(.system(21), "unlink \(path)") { try filesystem.removeFile(FilePath(path)) }
            if entries.keys.contains(where: { $0.hasPrefix(path + "/") }) {
                return try expect(.system(39), "rmdir \(path)") {
                    try filesystem.removeDirectory(FilePath(path))
                }
            }
            try filesystem.removeDirectory(FilePath(path))
            entries[path] = nil
        case .file(let inode):
            try filesystem.removeFile(FilePath(path))
            inode.names -= 1
            entries[path] = nil
        case .symbolicLink:
            try filesystem.removeFile(FilePath(path))
            entries[path] = nil
        }
    }

    private func rename() throws {
        let path = entries.keys.sorted().randomElement(using: &random)!
        let target = newPath()
        guard !path.isEmpty else { return }
        if case .directory = entries[path]! {
            if (target + "/").hasPrefix(path + "/") && target != path {
                return try expect(.invalidArgument, "rename \(path) into itself") {
                    try filesystem.rename(FilePath(path), to: FilePath(target))
                }
            }
            // Replacing is for files here.
            guard entries[target] == nil else { return }
            try filesystem.rename(FilePath(path), to: FilePath(target))
            for (old, entry) in entries where old == path || old.hasPrefix(path + "/") {
                entries[old] = nil
                entries[target + old.dropFirst(path.count)] = entry
            }
            return
        }
        if let other = entries[target], case .directory = other {
            return try expect(.system(21), "rename \(path) over a directory") {
                try filesystem.rename(FilePath(path), to: FilePath(target))
            }
        }
        try filesystem.rename(FilePath(path), to: FilePath(target))
        if path == target { return }
        if case .file(let replaced)? = entries[target] {
            // Two names of one inode: nothing happens.
            if case .file(let one) = entries[path]!, one === replaced { return }
            replaced.names -= 1
        }
        entries[target] = entries[path]
        entries[path] = nil
    }

    private func link() throws {
        guard let (path, inode) = pickFile() else { return }
        let target = newPath()
        if entries[target] != nil {
            return try expect(.exists, "link \(target)") {
                try filesystem.makeHardLink(FilePath(target), to: FilePath(path))
            }
        }
        try filesystem.makeHardLink(FilePath(target), to: FilePath(path))
        inode.names += 1
        entries[target] = .file(inode)
    }

    private func makeDirectory() throws {
        let path = newPath()
        guard path.utf8.count < 2000, entries[path] == nil else { return }
        try filesystem.makeDirectory(FilePath(path))
        entries[path] = .directory
    }

    private func makeSymbolicLink() throws {
        let path = newPath()
        guard entries[path] == nil else { return }
        let target = String(repeating: "t", count: Int.random(in: 1...900, using: &random))
        try filesystem.makeSymbolicLink(FilePath(path), to: [UInt8](target.utf8))
        entries[path] = .symbolicLink(target)
    }

    private func attribute() throws {
        guard let (path, inode) = pickFile() else { return }
        let name = "user." + names.prefix(16).randomElement(using: &random)!
        if Int.random(in: 0..<3, using: &random) == 0 {
            if inode.attributes[name] == nil {
                return try expect(.system(61), "attribute") {
                    try filesystem.setExtendedAttribute(
                        [UInt8](name.utf8),
                        of: FilePath(path),
                        to: nil
                    )
                }
            }
            inode.attributes[name] = nil
        } else {
            inode.attributes[name] = someBytes(upTo: 300)
        }
        try filesystem.setExtendedAttribute(
            [UInt8](name.utf8),
            of: FilePath(path),
            to: inode.attributes[name]
        )
    }

    private func closeOne() throws {
        guard !open.isEmpty else { return }
        let index = Int.random(in: 0..<open.count, using: &random)
        try open.remove(at: index).file.close()
    }

    private func readSome() throws {
        guard let (file, inode) = try pickOpen() else { return }
        let offset = someOffset(inode)
        let count = Int.random(in: 0...100_000, using: &random)
        try compare(file, inode, offset, count)
    }

    private func compare(_ file: File, _ inode: ModelInode, _ offset: Int, _ count: Int) throws {
        var buffer = [UInt8](repeating: 0xaa, count: count)
        let done = try buffer.withUnsafeMutableBytes {
            try file.read(at: UInt64(offset), into: $0)
        }
        let expected = Array(inode.bytes.dropFirst(offset).prefix(count))
        guard done == expected.count, Array(buffer.prefix(done)) == expected else {
            let place = zip(buffer, expected).enumerated().first { $1.0 != $1.1 }?.offset
            throw fail(
                """
                inode \(file.inodeNumber) reads differently: \(done) bytes at \(offset), expected \
                \(expected.count), first difference at \(place.map { $0 + offset } ?? -1)
                """
            )
        }
    }

    private func compareOne() throws {
        let path = entries.keys.sorted().randomElement(using: &random)!
        try compare(path)
    }

    private func compare(_ path: String) throws {
        let metadata = try filesystem.metadata(of: FilePath(path))
        switch entries[path]! {
        case .directory:
            let children = entries.keys.filter {
                $0 != path && $0.hasPrefix(path + "/")
                    && !$0.dropFirst(path.count + 1).contains("/")
            }
            let expected = Set(children.map { String($0.dropFirst(path.count + 1)) })
            var found: Set<String> = []
            try filesystem.list(FilePath(path)) {
                found.insert(String(decoding: $0.name, as: UTF8.self))
                return true
            }
            guard metadata.kind == .directory, found == expected else {
                throw fail("\(path) lists \(found.sorted()), expected \(expected.sorted())")
            }
            let size = expected.reduce(0) { $0 + 2 * $1.utf8.count }
            guard metadata.size == UInt64(size) else { throw fail("size of \(path)") }
        case .symbolicLink(let target):
            let found = try filesystem.symbolicLinkTarget(of: FilePath(path))
            guard found == [UInt8](target.utf8) else { throw fail("target of \(path)") }
        case .file(let inode):
            guard metadata.size == UInt64(inode.bytes.count),
                metadata.linkCount == UInt32(inode.names)
            else {
                throw fail(
                    """
                    \(path): \(metadata.size) bytes, \(metadata.linkCount) names, expected \
                    \(inode.bytes.count), \(inode.names)
                    """
                )
            }
            let file = try filesystem.openFile(FilePath(path))
            try compare(file, inode, 0, inode.bytes.count + 1)
            try file.close()
            let names = try filesystem.extendedAttributeNames(of: FilePath(path))
            let found = Set(names.map { String(decoding: $0, as: UTF8.self) })
            guard found == Set(inode.attributes.keys) else { throw fail("attributes of \(path)") }
            for (name, value) in inode.attributes {
                let found = try filesystem.extendedAttribute(
                    [UInt8](name.utf8),
                    of: FilePath(path)
                )
                guard found == value else { throw fail("attribute \(name) of \(path)") }
            }
        }
    }

    /// Compares everything.
    func compareAll() throws {
        for path in entries.keys.sorted() { try compare(path) }
        for (file, inode) in open { try compare(file, inode, 0, inode.bytes.count + 1) }
    }

    /// The contents of every regular file by path: for another reader to compare with.
    var contents: [String: [UInt8]] {
        var all: [String: [UInt8]] = [:]
        for (path, entry) in entries {
            if case .file(let inode) = entry { all[path] = inode.bytes }
        }
        return all
    }

    // MARK: commits and reopening

    func commit() throws {
        try filesystem.commit()
        committed = FileModel.copy(entries)
    }

    private static func copy(_ entries: [String: ModelEntry]) -> [String: ModelEntry] {
        var copies: [ObjectIdentifier: ModelInode] = [:]
        return entries.mapValues { entry in
            guard case .file(let inode) = entry else { return entry }
            let copy = copies[ObjectIdentifier(inode)] ?? ModelInode()
            copy.bytes = inode.bytes
            copy.names = inode.names
            copy.attributes = inode.attributes
            copies[ObjectIdentifier(inode)] = copy
            return .file(copy)
        }
    }

    /// Closes every file: nothing of the file system is held any more once the caller lets it go.
    func closeFiles() throws {
        for (file, _) in open { try file.close() }
        open = []
    }

    /// Forgets open files without closing them, and everything since the last commit: as a crash does.
    func crash() {
        open = []
        entries = FileModel.copy(committed)
    }

    /// Goes on with the file system opened again.
    func continueOn(_ filesystem: Filesystem) { self.filesystem = filesystem }
}

extension ModelInode {
    func put(_ new: [UInt8], at offset: Int) {
        let end = offset + new.count
        if end > bytes.count { bytes += [UInt8](repeating: 0, count: end - bytes.count) }
        bytes.replaceSubrange(offset..<end, with: new)
    }
}
