import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.zip.CRC32;
import java.util.zip.GZIPInputStream;
import java.util.zip.GZIPOutputStream;

/** Threads that compress, hold direct buffers and fill one map: the parts of Java that take memory from malloc. */
public class Work {
    static final ConcurrentHashMap<String, Integer> LENGTHS = new ConcurrentHashMap<>();

    static long work(int id) throws Exception {
        CRC32 crc = new CRC32();
        List<ByteBuffer> held = new ArrayList<>();
        for (int round = 0; round < 60; round++) {
            byte[] data = new byte[2000 + 331 * round];
            for (int i = 0; i < data.length; i++) data[i] = (byte) (i * id + round);
            ByteArrayOutputStream packed = new ByteArrayOutputStream();
            try (GZIPOutputStream gzip = new GZIPOutputStream(packed)) {
                gzip.write(data);
            }
            byte[] back = new GZIPInputStream(new ByteArrayInputStream(packed.toByteArray())).readAllBytes();
            if (!java.util.Arrays.equals(data, back)) throw new IllegalStateException("round " + round);
            ByteBuffer direct = ByteBuffer.allocateDirect(back.length);
            direct.put(back).flip();
            held.add(direct);
            if (round % 3 == 0) held.remove(held.size() / 2);
            LENGTHS.put(id + ":" + round, back.length);
        }
        for (ByteBuffer buffer : held) crc.update(buffer);
        return crc.getValue();
    }

    public static void main(String[] args) throws Exception {
        ExecutorService pool = Executors.newFixedThreadPool(4);
        List<Future<Long>> answers = new ArrayList<>();
        for (int id = 1; id <= 24; id++) {
            int mine = id;
            answers.add(pool.submit(() -> work(mine)));
        }
        long all = 0;
        for (Future<Long> answer : answers) all = all * 31 + answer.get();
        pool.shutdown();
        System.out.println(all + " " + LENGTHS.size() + " " + LENGTHS.values().stream().mapToInt(n -> n).sum());
    }
}
