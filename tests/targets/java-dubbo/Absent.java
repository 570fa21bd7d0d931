package shop;

/** A service that nobody offers. */
public interface Absent {
    String ping();
}
