//===-- Volume.swift - the devices of one file system, opened ---------------------------------===//
// Devices in any order become one address space: super blocks read and compared, devices known by
// their ids, the system chunks mapped. The chunk tree, which lies in those, then adds the rest.
//
// Invariants:
//   1. All devices carry the same fsid, and no two the same devid.
//   2. `superBlock` is the newest valid one of all devices.
//   3. Every chunk in the map can be served (ChunkMap).
//
// Locks: BGS_RWLOCK_MAP guards the map of chunks, which readers look up while chunks come and go.
// `addDevice`, and `addChunk` for chunks with missing devices, belong to opening: no other call may
// run beside them. Reading and writing are for any number of threads at once.

package import BGDiskFormat
internal import Synchronization

/// The devices of one file system and the map of its chunks.
package final class Volume: @unchecked Sendable {
    /// The newest super block.
    package let superBlock: SuperBlock
    /// The devices that are there, in the order given.
    package let devices: [Device]
    /// What is wrong but did not keep the volume from opening, for people to read.
    package private(set) var warnings: [FilesystemError]
    /// Device ids that chunks or device items name and that are not there, each once.
    package private(set) var missingDevids: [UInt64] = []
    private var map = ChunkMap()
    private let mapLock = ReadWriteLock(.map)
    private let correctedReadCount = Atomic<UInt64>(0)

    /// The chunks of this moment.
    package var chunkMap: ChunkMap { mapLock.withReadLock { map } }

    /// The chunk that holds `logical`, if any. - Complexity: O(log chunks)
    package func chunk(at logical: UInt64) -> Chunk? {
        mapLock.withReadLock { map.chunk(at: logical) }
    }

    /// Reads that one mirror failed and another served.
    package var correctedReads: UInt64 { correctedReadCount.load(ordering: .relaxed) }

    /// Opens the file system on the files with these paths.
    ///
    /// Throws what `init(devices:)` and opening the files throw; `deviceIndex` says which path.
    package static func open(
        paths: [String],
        writable: Bool = false
    ) throws(FilesystemError) -> Volume {
        var storages: [any BlockDevice] = []
        for (index, path) in paths.enumerated() {
            var characters: [CChar] = []
            for byte in path.utf8 { characters.append(CChar(bitPattern: byte)) }
            characters.append(0)
            storages.append(try openFile(characters, index: index, writable: writable))
        }
        return try Volume(devices: storages)
    }

    private static func openFile(
        _ path: [CChar],
        index: Int,
        writable: Bool
    ) throws(FilesystemError) -> FileDevice {
        do throws(FilesystemError) {
            return try unsafe path.withUnsafeBufferPointer {
                characters throws(FilesystemError) in
                try unsafe FileDevice(path: characters.baseAddress!, writable: writable)
            }
        } catch {
            throw error.located(deviceIndex: index)
        }
    }

    /// Opens the file system on these devices, in any order.
    ///
    /// Throws `.invalidArgument` for devices of different file systems, or the same one twice;
    /// `.corrupt`, `.unsupported` or `.io` where no super block can be used; `.missingDevice`
    /// where the system chunks cannot be read without a device that is not there.
    package init(devices storages: [any BlockDevice]) throws(FilesystemError) {
        var found: [Device] = []
        var remarks: [FilesystemError] = []
        var failure: FilesystemError?
        for (index, storage) in storages.enumerated() {
            let search = try SuperBlockSearch(storage, index: index)
            guard let superBlock = search.newest else {
                failure = failure ?? search.failure
                if let unusable = search.failure { remarks.append(unusable) }
                continue
            }
            remarks += search.warnings
            let device = Device(index: index, storage: storage, superBlock: superBlock)
            try Volume.check(device, against: found)
            found.append(device)
        }
        guard var newest = found.first?.superBlock else {
            throw failure ?? FilesystemError(.invalidArgument, "volume", "no devices given")
        }
        for device in found where device.superBlock.generation > newest.generation {
            newest = device.superBlock
        }
        superBlock = newest
        devices = found
        warnings = remarks
        noteStaleAndExtraDevices()
        for chunk in newest.systemChunks { try addChunk(chunk) }
    }

    private static func check(
        _ device: Device,
        against others: [Device]
    ) throws(FilesystemError) {
        let recorded = device.superBlock.device.totalBytes
        guard device.storage.byteCount >= recorded else {
            throw FilesystemError(
                .corrupt,
                "device",
                "has % bytes, its super block says %",
                device.storage.byteCount,
                recorded,
                deviceIndex: device.index,
                devid: device.devid
            )
        }
        for other in others {
            guard other.superBlock.fsid == device.superBlock.fsid else {
                throw FilesystemError(
                    .invalidArgument,
                    "device",
                    "belongs to another file system than device %",
                    UInt64(other.index),
                    deviceIndex: device.index
                )
            }
            guard other.devid != device.devid else {
                throw FilesystemError(
                    .invalidArgument,
                    "device",
                    "is the same device as device %",
                    UInt64(other.index),
                    deviceIndex: device.index,
                    devid: device.devid
                )
            }
        }
    }

    private func noteStaleAndExtraDevices() {
        for device in devices where device.superBlock.generation < superBlock.generation {
            warnings.append(
                FilesystemError(
                    .corrupt,
                    "device",
                    "generation % is behind %",
                    device.superBlock.generation,
                    superBlock.generation,
                    deviceIndex: device.index,
                    devid: device.devid
                )
            )
        }
        if UInt64(devices.count) != superBlock.deviceCount {
            warnings.append(
                FilesystemError(
                    .missingDevice,
                    "volume",
                    "% devices given, the file system has %",
                    UInt64(devices.count),
                    superBlock.deviceCount
                )
            )
        }
    }

    /// The device with this id, where it was given.
    package func device(devid: UInt64) -> Device? {
        for device in devices where device.devid == devid { return device }
        return nil
    }

    /// Takes note of a device item of the chunk tree. Part of opening.
    ///
    /// Throws `.corrupt` where the device with that id is another one.
    package func addDevice(_ item: DeviceItem) throws(FilesystemError) {
        guard let device = device(devid: item.devid) else {
            noteMissing(item.devid)
            return
        }
        guard device.uuid == item.uuid else {
            throw FilesystemError(
                .corrupt,
                "device item",
                "the device with this id has another UUID",
                deviceIndex: device.index,
                devid: item.devid
            )
        }
    }

    /// Opens devices on which a file system is to be made, each as its item of `items` says; no
    /// chunk is mapped.
    package init(
        formatting superBlock: SuperBlock,
        devices storages: [any BlockDevice],
        items: [DeviceItem]
    ) {
        precondition(storages.count == items.count)
        self.superBlock = superBlock
        warnings = []
        devices = storages.enumerated().map { index, storage in
            precondition(items[index].totalBytes <= storage.byteCount)
            var own = superBlock
            own.device = items[index]
            return Device(index: index, storage: storage, superBlock: own)
        }
    }

    /// Maps a chunk; one that is mapped already changes nothing.
    ///
    /// Throws `.corrupt` for one that overlaps another or does not fit its devices,
    /// `.missingDevice` where too many of its devices are not there.
    package func addChunk(_ item: ChunkItem) throws(FilesystemError) {
        var behind: [Device?] = []
        behind.reserveCapacity(item.stripes.count)
        for stripe in item.stripes {
            guard let device = device(devid: stripe.devid), device.uuid == stripe.deviceUUID
            else {
                noteMissing(stripe.devid)
                behind.append(nil)
                continue
            }
            guard stripe.physical + item.stripeBytes <= device.storage.byteCount else {
                throw FilesystemError(
                    .corrupt,
                    "chunk",
                    "stripe of % bytes passes the device's end at %",
                    item.stripeBytes,
                    device.storage.byteCount,
                    logical: item.logical,
                    devid: stripe.devid,
                    physical: stripe.physical
                )
            }
            behind.append(device)
        }
        let chunk = Chunk(item, devices: behind)
        if let devid = chunk.unservedDevid {
            throw FilesystemError(
                .missingDevice,
                "chunk",
                "cannot be read without a device that is not there",
                logical: item.logical,
                devid: devid
            )
        }
        try mapLock.withWriteLock { () throws(FilesystemError) in try map.insert(chunk) }
    }

    /// Unmaps the chunk that begins at `logical`: nothing there is read or written any more.
    ///
    /// Throws `.notFound` where no chunk begins there.
    package func removeChunk(logical: UInt64) throws(FilesystemError) {
        let removed = mapLock.withWriteLock { map.remove(logical: logical) }
        guard removed != nil else {
            throw FilesystemError(.notFound, "chunk", "none begins there", logical: logical)
        }
    }

    /// The counters of reading and writing, of this moment.
    package var statistics: Statistics {
        Statistics(
            correctedReads: correctedReads,
            readErrors: devices.map { DeviceErrors(devid: $0.devid, count: $0.readErrors) },
            writeErrors: devices.map { DeviceErrors(devid: $0.devid, count: $0.writeErrors) }
        )
    }

    /// What reading and writing have met since the volume was opened.
    package struct Statistics: Equatable, Sendable {
        /// Reads that one mirror failed and another served.
        package var correctedReads: UInt64
        /// In the order of `devices`.
        package var readErrors: [DeviceErrors]
        /// In the order of `devices`; failed flushes count, too.
        package var writeErrors: [DeviceErrors]
    }

    /// Failures of one device.
    package struct DeviceErrors: Equatable, Sendable {
        package var devid: UInt64
        package var count: UInt64
    }

    private func noteMissing(_ devid: UInt64) {
        for known in missingDevids where known == devid { return }
        missingDevids.append(devid)
    }

    /// Counts a read that another mirror served.
    package func noteCorrectedRead() {
        correctedReadCount.wrappingAdd(1, ordering: .relaxed)
    }
}
