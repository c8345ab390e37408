//===-- FileItemTests.swift - items of files: sound ones come back, damaged ones are refused --===//
// Random bytes go into every initializer: none may trap. BG_SEED replays. Items of real images are
// compared in BlockGroupsTests/FileImageTests.swift.

import BGDiskFormat
import BGTestSupport
import Testing

@Suite struct FileItemTests {
    private func inode() -> InodeItem {
        var item = InodeItem(
            generation: 7,
            mode: 0o100640,
            owner: 1000,
            group: 1001,
            time: InodeTime(seconds: -5, nanoseconds: 999_999_999)
        )
        item.size = 1 << 40
        item.byteCount = 8192
        item.flags = InodeItem.flagNoDataChecksums
        item.sequence = 3
        return item
    }

    private let inodeKey = Key(257, .inodeItem, 0)

    @Test func anInodeComesBackAsItWasEncoded() throws {
        let item = inode()
        let bytes = item.encoded
        #expect(bytes.count == 160)
        #expect(try InodeItem(key: inodeKey, bytes.span.bytes, limits) == item)
    }

    @Test func inodesThatCannotBeAreRefused() {
        func refusal(_ change: (inout InodeItem) -> Void) -> String? {
            var item = inode()
            change(&item)
            return message { _ = try InodeItem(key: inodeKey, item.encoded.span.bytes, limits) }
        }
        #expect(refusal { $0.mode = 0o170644 }?.contains("mode") == true)
        #expect(refusal { $0.mode = 0o644 }?.contains("mode") == true)
        #expect(refusal { $0.generation = 102 }?.contains("generation") == true)
        #expect(refusal { $0.generation = 101 } == nil)
        #expect(refusal { $0.size = 1 << 63 }?.contains("size") == true)
        let directory = refusal {
            $0.mode = 0o040755
            $0.linkCount = 2
        }
        #expect(directory?.contains("2 links") == true)
        let short = [UInt8](inode().encoded.dropLast())
        #expect(
            message { _ = try InodeItem(key: inodeKey, short.span.bytes, limits) }
                == "corrupt inode item: item of 159 bytes, expected 160"
        )
    }

    @Test func namesHashAsTheKernelHashesThem() {
        // The root tree's "default" entry is the same in every file system.
        #expect(NameHash.directoryItem([UInt8]("default".utf8)) == 2_378_154_706)
        // Seeds differ, so do the hashes.
        let name = [UInt8]("a".utf8)
        #expect(
            NameHash.extendedRef(directory: 256, name)
                != NameHash.extendedRef(directory: 257, name)
        )
    }

    @Test func entriesOfOneHashShareAnItem() throws {
        // Two names of the same crc32c, found by search.
        let first = entry([UInt8]("default".utf8))
        let key = Key(256, .dirItem, NameHash.directoryItem(first.name))
        let bytes = first.encoded
        #expect(try DirectoryItem.entries(key: key, bytes.span.bytes) == [first])
        let twice = bytes + bytes
        #expect(try DirectoryItem.entries(key: key, twice.span.bytes) == [first, first])
        let index = Key(256, .dirIndex, 2)
        #expect(
            message { _ = try DirectoryItem.entries(key: index, twice.span.bytes) }?
                .contains("2 entries") == true
        )
    }

    private func entry(_ name: [UInt8]) -> DirectoryItem {
        DirectoryItem(location: Key(300, .inodeItem, 0), transid: 9, type: 1, name: name)
    }

    @Test(arguments: ["..", ".", "a/b", "a\0b"])
    func namesThatAPathCannotHoldAreRefused(name: String) {
        let bytes = entry([UInt8](name.utf8)).encoded
        #expect(
            message { _ = try DirectoryItem.entries(key: Key(256, .dirIndex, 2), bytes.span.bytes) }
                != nil
        )
    }

    @Test func referencesComeBackAsTheyWereEncoded() throws {
        let one = InodeRef(directory: 256, index: 2, name: [UInt8]("one".utf8))
        let two = InodeRef(directory: 256, index: 9, name: [UInt8](repeating: 0x78, count: 255))
        let bytes = one.encoded + two.encoded
        #expect(
            try InodeRef.entries(key: Key(257, .inodeRef, 256), bytes.span.bytes) == [one, two]
        )
        let hash = NameHash.extendedRef(directory: 256, one.name)
        let extended = one.extendedEncoded
        #expect(
            try InodeRef.extendedEntries(
                key: Key(257, .inodeExtendedRef, hash),
                extended.span.bytes
            ) == [one]
        )
        #expect(
            message {
                _ = try InodeRef.extendedEntries(
                    key: Key(257, .inodeExtendedRef, hash ^ 1),
                    extended.span.bytes
                )
            } != nil
        )
    }

    @Test func partsOfFilesComeBackAsTheyWereEncoded() throws {
        let key = Key(257, .extentData, 8192)
        let part = FileExtentItem(
            generation: 5,
            logical: 1 << 30,
            diskBytes: 65536,
            offset: 4096,
            length: 8192
        )
        #expect(part.encoded.count == 53)
        #expect(try FileExtentItem(key: key, part.encoded.span.bytes, limits) == part)
        let hole = FileExtentItem(generation: 5, logical: 0, diskBytes: 0, length: 1 << 20)
        let read = try FileExtentItem(key: key, hole.encoded.span.bytes, limits)
        #expect(read.isHole && read.countedBytes == 0 && read == hole)
        let data: [UInt8] = [1, 2, 3]
        let inline = FileExtentItem.inline(generation: 5, data.span.bytes)
        let inlineRead = try FileExtentItem(
            key: Key(257, .extentData, 0),
            inline.span.bytes,
            limits
        )
        #expect(inlineRead.kind == .inline && inlineRead.inlineBytes == 3)
        #expect(inlineRead.ramBytes == 3)
    }

    @Test func partsThatLieOutsideTheirExtentAreRefused() {
        func refusal(_ change: (inout FileExtentItem) -> Void) -> String? {
            var part = FileExtentItem(
                generation: 5,
                logical: 1 << 30,
                diskBytes: 65536,
                length: 65536
            )
            change(&part)
            let key = Key(257, .extentData, 0)
            return message { _ = try FileExtentItem(key: key, part.encoded.span.bytes, limits) }
        }
        #expect(refusal { _ in } == nil)
        #expect(refusal { $0.offset = 4096 } != nil)
        #expect(refusal { $0.length = 4095 } != nil)
        #expect(refusal { $0.length = 0 } != nil)
        #expect(refusal { $0.logical += 512 } != nil)
        #expect(refusal { $0.compression = 4 } != nil)
        // Compressed: the part is of what it is uncompressed.
        let compressed = refusal {
            $0.compression = 1
            $0.ramBytes = 131072
            $0.length = 131072
        }
        #expect(compressed == nil)
    }

    @Test func noBytesMakeTheParsersTrap() {
        var random = SeededGenerator(state: testSeed)
        for _ in 0..<20_000 {
            let count = Int.random(in: 0...200, using: &random)
            let small = Bool.random(using: &random)
            let bytes = (0..<count).map { _ in
                small && Int.random(in: 0..<3, using: &random) > 0
                    ? 0 : UInt8.random(in: 0...255, using: &random)
            }
            let span = bytes.span.bytes
            _ = message { _ = try InodeItem(key: inodeKey, span, limits) }
            for type in [KeyType.dirItem, .dirIndex, .extendedAttribute] {
                _ = message { _ = try DirectoryItem.entries(key: Key(256, type, 2), span) }
            }
            _ = message { _ = try InodeRef.entries(key: Key(257, .inodeRef, 256), span) }
            _ = message {
                _ = try InodeRef.extendedEntries(key: Key(257, .inodeExtendedRef, 2), span)
            }
            _ = message {
                _ = try FileExtentItem(key: Key(257, .extentData, 0), span, limits)
            }
        }
    }
}
