// Extent items with their references, and root items, into bytes and back.
// BG_SEED replays the random part.

import BGDiskFormat
import BGTestSupport
import Testing

private let extentLimits = FormatLimits(
    sectorSize: 4096,
    nodeSize: 16384,
    generation: 100,
    incompat: IncompatFlags(rawValue: 0x341)
)

@Suite struct ExtentRecordTests {
    /// As the kernel placed them in an image of its own.
    @Test func sequencesOfDataReferencesAreTheKernels() {
        let known: [(UInt64, UInt64, UInt64, UInt64)] = [
            (5, 257, 0, 1007496934145758698), (5, 300, 131072, 1007496935120104037),
            (256, 257, 4096, 1002667597962309452),
        ]
        for (root, inode, offset, sequence) in known {
            let reference = BackReference.data(root: root, inode: inode, offset: offset)
            #expect(reference.sequence == sequence)
        }
    }

    @Test func referencesStayInTheOrderOfTheFormat() throws {
        var random = SeededGenerator.printed("extent record")
        for _ in 0..<100 {
            var record = ExtentRecord(data: 1 << 20, length: 8192, generation: 7)
            var references: [BackReference] = []
            for _ in 0..<12 {
                let number = (random.next() >> 20) << 12
                references.append(
                    random.next() % 3 == 0
                        ? .sharedData(parent: number)
                        : .data(root: 5, inode: number, offset: 0)
                )
            }
            for (index, reference) in references.enumerated() {
                record.setInline(reference, count: UInt32(index + 1))
                record.refs += UInt64(index + 1)
            }
            let order = record.inlineRefs.compactMap { $0.reference }
            let places = order.map { ($0.keyType, $0.sequence) }
            #expect(
                zip(places, places.dropFirst()).allSatisfy {
                    $0.0 < $1.0 || $0.0 == $1.0 && $0.1 > $1.1
                }
            )
            #expect(record.encoded.count == record.byteCount)
            let encoded = record.encoded
            let again = try ExtentRecord(key: record.key, encoded.span.bytes, extentLimits)
            #expect(again == record)
            for reference in references { record.setInline(reference, count: 0) }
            #expect(record.inlineRefs.isEmpty)
        }
    }

    @Test(arguments: [nil, Key(256, .inodeItem, 0)])
    func treeBlocksComeBackAsTheyWere(_ firstKey: Key?) throws {
        var record = ExtentRecord(
            treeBlock: 1 << 20,
            level: 3,
            generation: 9,
            firstKey: firstKey,
            extentLimits
        )
        record.setInline(.sharedBlock(parent: 8 << 20), count: 1)
        record.setInline(.treeBlock(root: 5), count: 1)
        record.setInline(.treeBlock(root: 257), count: 1)
        record.refs = 3
        record.flags |= ExtentItem.flagFullBackref
        #expect(
            record.inlineRefs == [
                .treeBlock(root: 257), .treeBlock(root: 5), .sharedBlock(parent: 8 << 20),
            ]
        )
        #expect(record.key.type == (firstKey == nil ? .metadataItem : .extentItem))
        let encoded = record.encoded
        #expect(try ExtentRecord(key: record.key, encoded.span.bytes, extentLimits) == record)
    }

    @Test func rootItemsKeepEveryByte() throws {
        var random = SeededGenerator.printed("root item")
        for _ in 0..<100 {
            var bytes = (0..<RootItem.byteCount).map { _ in UInt8(random.next() & 0xff) }
            for (offset, value) in [(160, 77), (176, 1 << 20), (239, 77)] as [(Int, UInt64)] {
                for index in 0..<8 {
                    bytes[offset + index] = UInt8(truncatingIfNeeded: value >> UInt64(8 * index))
                }
            }
            bytes[238] = 2
            let key = Key(257, .rootItem, 0)
            let item = try RootItem(key: key, bytes.span.bytes, extentLimits)
            #expect(item.encoded == bytes)
            // What an old writer left behind is not believed.
            bytes[239] = 1
            let stale = try RootItem(key: key, bytes.span.bytes, extentLimits)
            #expect(stale.uuid == .zero && stale.encoded[239] == 77)
            let short = Array(bytes[..<RootItem.legacyByteCount])
            let legacy = try RootItem(key: key, short.span.bytes, extentLimits)
            #expect(legacy == stale)
        }
    }

    @Test func groupsAndFreeSpaceInfosComeBackAsTheyWere() throws {
        let group = BlockGroupItem(
            logical: 1 << 30,
            length: 1 << 28,
            used: 4096,
            chunkObjectid: ObjectID.firstChunk,
            flags: .metadata | .dup
        )
        let groupBytes = group.encoded
        #expect(try BlockGroupItem(key: group.key, groupBytes.span.bytes, extentLimits) == group)
        let info = FreeSpaceInfo(
            logical: 1 << 30,
            length: 1 << 28,
            extentCount: 12,
            usesBitmaps: true
        )
        let infoBytes = info.encoded
        #expect(try FreeSpaceInfo(key: info.key, infoBytes.span.bytes, extentLimits) == info)
    }
}
