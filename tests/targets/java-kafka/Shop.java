import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.TreeMap;
import javax.management.MBeanServerConnection;
import javax.management.ObjectName;
import javax.management.remote.JMXConnectorFactory;
import javax.management.remote.JMXServiceURL;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/** Kafka's own client: waits for a line, makes calls, and prints how many requests the broker counts. */
public class Shop {
    static String traceparent(int number) {
        return String.format("00-%032x-%016x-01", number, number);
    }

    static Properties with(String address, Object... more) {
        Properties said = new Properties();
        said.put("bootstrap.servers", address);
        for (int i = 0; i < more.length; i += 2) said.put(more[i], more[i + 1]);
        return said;
    }

    static KafkaProducer<String, String> producer(String address, Object... more) {
        Properties said = with(address, more);
        said.put(ProducerConfig.KEY_SERIALIZER_CLASS_CONFIG, StringSerializer.class);
        said.put(ProducerConfig.VALUE_SERIALIZER_CLASS_CONFIG, StringSerializer.class);
        return new KafkaProducer<>(said);
    }

    static ProducerRecord<String, String> message(String topic, int number) {
        ProducerRecord<String, String> said = new ProducerRecord<>(topic, 0, "secret-key", "secret-value");
        said.headers().add("traceparent", traceparent(number).getBytes());
        return said;
    }

    static void consume(String address, String group, int number, String... topics) {
        Properties said = with(address, "group.id", group, "auto.offset.reset", "earliest",
                "isolation.level", "read_committed", "enable.auto.commit", "false");
        said.put(ConsumerConfig.KEY_DESERIALIZER_CLASS_CONFIG, StringDeserializer.class);
        said.put(ConsumerConfig.VALUE_DESERIALIZER_CLASS_CONFIG, StringDeserializer.class);
        try (KafkaConsumer<String, String> consumer = new KafkaConsumer<>(said)) {
            consumer.subscribe(List.of(topics));
            int got = 0;
            while (got < number) got += consumer.poll(Duration.ofSeconds(10)).count();
            consumer.commitSync();
        }
    }

    static Map<String, Long> requests(int port) throws Exception {
        Map<String, Long> found = new TreeMap<>();
        JMXServiceURL url = new JMXServiceURL("service:jmx:rmi:///jndi/rmi://127.0.0.1:" + port + "/jmxrmi");
        try (var connector = JMXConnectorFactory.connect(url)) {
            MBeanServerConnection server = connector.getMBeanServerConnection();
            ObjectName pattern = new ObjectName("kafka.network:type=RequestMetrics,name=RequestsPerSec,*");
            for (ObjectName name : server.queryNames(pattern, null))
                found.merge(name.getKeyProperty("request"), (Long) server.getAttribute(name, "Count"), Long::sum);
        }
        return found;
    }

    static void print(Map<String, Long> counts) {
        StringBuilder said = new StringBuilder("{");
        for (var each : counts.entrySet())
            said.append(said.length() > 1 ? ", " : "").append('"').append(each.getKey()).append("\": ").append(each.getValue());
        System.out.println(said.append('}'));
        System.out.flush();
    }

    public static void main(String[] words) throws Exception {
        String address = words[0];
        int jmx = Integer.parseInt(words[1]);
        System.in.read();
        print(requests(jmx));
        try (Admin admin = Admin.create(with(address))) {
            admin.createTopics(List.of(new NewTopic("java", 1, (short) 1), new NewTopic("ledger", 1, (short) 1),
                    new NewTopic("left", 1, (short) 1), new NewTopic("right", 1, (short) 1))).all().get();
        }
        try (var producer = producer(address, "client.id", "java-shop")) {
            for (int n = 1; n <= 4; n++) producer.send(message("java", n)).get();
        }
        try (var producer = producer(address, "linger.ms", "300", "compression.type", "gzip", "acks", "1")) {
            producer.partitionsFor("left");
            producer.partitionsFor("right");
            for (int n = 10; n < 16; n++) producer.send(message(n % 2 == 0 ? "left" : "right", n));
        }
        try (var producer = producer(address, "transactional.id", "till")) {
            producer.initTransactions();
            for (int n = 20; n < 23; n++) {
                producer.beginTransaction();
                producer.send(message("ledger", n)).get();
                if (n == 21) producer.abortTransaction();
                else producer.commitTransaction();
            }
        }
        consume(address, "java-readers", 4 + 2, "java", "ledger");
        consume(address, "others", 6, "left", "right");
        print(requests(jmx));
        System.in.read();
    }
}
