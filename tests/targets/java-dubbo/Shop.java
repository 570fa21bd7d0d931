package shop;

/** What is sold by Dubbo. */
public interface Shop {
    long price(String name, int count) throws NotFound;

    String ping();

    void note(String text);

    String slow(int milliseconds);

    String echo(String text);
}
