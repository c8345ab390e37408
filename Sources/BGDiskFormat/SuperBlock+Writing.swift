//===-- SuperBlock+Writing.swift - super blocks into bytes ---------------------------------------===//
// A super block is written as the bytes that it was read from, with every known field stored over
// them: what this library does not know survives.
//
// Invariants:
//   1. What `encoded` returns is accepted by `init(_:physical:)`, where the fields are sound.
//   2. Encoding an unchanged value gives back the bytes that it was read from.

extension SuperBlock {
    /// The super block of a file system that is about to be made: no trees yet, generation 0.
    ///
    /// - Parameters:
    ///   - device: of one of the devices; each gets its own by `encoded(forCopy:device:)`.
    ///   - label: UTF-8, at most 255 bytes, none of them zero.
    package init(
        formatting fsid: FilesystemUUID,
        sectorSize: UInt32,
        nodeSize: UInt32,
        checksumType: ChecksumType,
        incompat: IncompatFlags,
        compatReadOnly: CompatReadOnlyFlags,
        label: [UInt8],
        device: DeviceItem,
        deviceCount: UInt64,
        totalBytes: UInt64
    ) {
        precondition(label.count < SuperBlock.labelBytes)
        precondition(!incompat.contains(.metadataUUID))
        self.fsid = fsid
        physical = SuperBlock.physical(ofCopy: 0)
        flags = SuperBlock.writtenFlag
        generation = 0
        root = 0
        chunkRoot = 0
        logRoot = 0
        self.totalBytes = totalBytes
        bytesUsed = 0
        rootDirectory = ObjectID.rootTreeDirectory
        self.deviceCount = deviceCount
        self.sectorSize = sectorSize
        self.nodeSize = nodeSize
        stripeSize = sectorSize
        systemChunkArraySize = 0
        chunkRootGeneration = 0
        compat = 0
        self.compatReadOnly = compatReadOnly
        self.incompat = incompat
        self.checksumType = checksumType
        rootLevel = 0
        chunkRootLevel = 0
        logRootLevel = 0
        self.device = device
        self.label = label
        cacheGeneration = 0
        uuidTreeGeneration = 0
        metadataUUID = fsid
        systemChunks = []
        backupRoots = Array(repeating: .none, count: BackupRoots.slotCount)
        source = [UInt8](repeating: 0, count: SuperBlock.byteCount)
    }

    /// The bytes of copy `copy` (from 0) on the device that `device` describes, checksum included.
    ///
    /// The system chunks must fit (`systemChunkArrayBytes(_:)`).
    package func encoded(forCopy copy: Int, device: DeviceItem) -> [UInt8] {
        var bytes = source
        var span = bytes.mutableSpan
        var raw = unsafe span.mutableBytes
        storeFields(in: &raw, physical: SuperBlock.physical(ofCopy: copy))
        storeDevice(device, in: &raw)
        storeLabel(in: &raw)
        storeSystemChunks(in: &raw)
        for slot in 0..<BackupRoots.slotCount {
            backupRoots[slot].store(
                in: &raw,
                at: SuperBlock.backupRootsOffset + slot * BackupRoots.byteCount
            )
        }
        checksumType.seal(block: &raw)
        return bytes
    }

    /// Bytes that these chunks take in the system chunk array, of `systemChunkArrayBytesMax`.
    package static func systemChunkArrayBytes(_ chunks: [ChunkItem]) -> Int {
        chunks.reduce(0) {
            $0 + Key.byteCount + ChunkItem.byteCount(stripeCount: $1.stripes.count)
        }
    }

    private func storeFields(in raw: inout MutableRawSpan, physical: UInt64) {
        raw.store(fsid, at: 32)
        raw.store(physical, at: 48)
        raw.store(flags, at: 56)
        raw.store(SuperBlock.signature, at: 64)
        raw.store(generation, at: 72)
        raw.store(root, at: 80)
        raw.store(chunkRoot, at: 88)
        raw.store(logRoot, at: 96)
        raw.store(totalBytes, at: 112)
        raw.store(bytesUsed, at: 120)
        raw.store(rootDirectory, at: 128)
        raw.store(deviceCount, at: 136)
        raw.store(sectorSize, at: 144)
        raw.store(nodeSize, at: 148)
        raw.store(nodeSize, at: 152)
        raw.store(stripeSize, at: 156)
        raw.store(chunkRootGeneration, at: 164)
        raw.store(compat, at: 172)
        raw.store(compatReadOnly.rawValue, at: 180)
        raw.store(incompat.rawValue, at: 188)
        raw.store(checksumType.rawValue, at: 196)
        raw.store(rootLevel, at: 198)
        raw.store(chunkRootLevel, at: 199)
        raw.store(logRootLevel, at: 200)
        raw.store(cacheGeneration, at: 555)
        raw.store(uuidTreeGeneration, at: 563)
        if incompat.contains(.metadataUUID) { raw.store(metadataUUID, at: 571) }
    }

    private func storeDevice(_ device: DeviceItem, in raw: inout MutableRawSpan) {
        let bytes = device.encoded
        for index in 0..<bytes.count {
            raw.store(bytes[index], at: SuperBlock.deviceOffset + index)
        }
    }

    private func storeLabel(in raw: inout MutableRawSpan) {
        precondition(label.count < SuperBlock.labelBytes)
        for index in 0..<SuperBlock.labelBytes {
            let byte = index < label.count ? label[index] : 0
            raw.store(byte, at: SuperBlock.labelOffset + index)
        }
    }

    /// Stores the array and its size; what a longer array left behind it becomes zero.
    private func storeSystemChunks(in raw: inout MutableRawSpan) {
        var array: [UInt8] = []
        for chunk in systemChunks {
            array.append(chunk.key)
            array += chunk.encoded
        }
        precondition(array.count <= SuperBlock.systemChunkArrayBytesMax)
        raw.store(UInt32(array.count), at: 160)
        array.append(zeros: max(0, Int(systemChunkArraySize) - array.count))
        for index in 0..<array.count {
            raw.store(array[index], at: SuperBlock.systemChunkArrayOffset + index)
        }
    }
}
