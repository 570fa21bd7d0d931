package shop;

/** An exception of the interface's own. */
public class NotFound extends Exception {
    private static final long serialVersionUID = 1;

    public NotFound(String what) {
        super(what);
    }
}
